package state

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// locked is Pulumi Cloud's message to a second update.
const locked = "Conflict: Another update is currently in progress."

// update is one update of a stack, of any kind, or one preview.
type update struct {
	id, author string
	preview    bool
	info       apitype.UpdateInfo
	status     apitype.UpdateStatus
	tokens     map[string]time.Time // leases, and until when each one holds
	events     []apitype.EngineEvent

	checkpoint *apitype.UntypedDeployment // the latest; nil while there is none
	verbatim   string                     // the text that the next delta changes
	sequence   int                        // the number of the last verbatim checkpoint or delta
	journal    *backend.JournalReplayer
	entries    map[int64]bool // the journal's sequence numbers
	left       apitype.UntypedDeployment
}

// expired reports whether none of the update's leases holds.
func (u *update) expired() bool {
	for _, until := range u.tokens {
		if time.Now().Before(until) {
			return false
		}
	}
	return true
}

// end makes the update's last checkpoint the stack's state.
func (u *update) end(s *stack, status apitype.UpdateStatus) {
	u.status, u.info.EndTime = status, time.Now().Unix()
	u.info.Result = apitype.FailedResult
	if status == apitype.StatusSucceeded {
		u.info.Result = apitype.SucceededResult
	}
	if u.preview {
		return
	}
	if u.checkpoint != nil {
		s.deployment = *u.checkpoint
	}
	u.left, u.info.ResourceCount = s.deployment, resources(s.deployment)
}

func (s *Service) createUpdate(c call) {
	var request apitype.UpdateProgramRequest
	if !c.decode(&request) {
		return
	}
	kind := c.r.URL.Path[strings.LastIndex(c.r.URL.Path, "/")+1:]
	made := &update{
		id: uuid.NewString(), author: c.user.Name, preview: kind == "preview" || request.Options.DryRun,
		status: apitype.StatusNotStarted, tokens: map[string]time.Time{}, entries: map[int64]bool{},
		info: apitype.UpdateInfo{
			Kind: apitype.UpdateKind(kind), Message: request.Metadata.Message, Environment: request.Metadata.Environment,
			Config: request.Config, Result: apitype.NotStartedResult,
		},
	}
	c.stack.updates[made.id] = made
	rest.Answer(c.w, http.StatusOK, apitype.UpdateProgramResponse{UpdateID: made.id})
}

// update answers the call itself where there is no such update.
func (c call) update() *update {
	found, exists := c.stack.updates[c.r.PathValue("update")]
	if !exists {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: Update '%s' not found", c.r.PathValue("update")))
		return nil
	}
	return found
}

func (s *Service) startUpdate(c call) {
	var request apitype.StartUpdateRequest
	if !c.decode(&request) {
		return
	}
	u := c.update()
	switch {
	case u == nil:
		return
	case u.author != c.user.Name:
		rest.Fail(c.w, http.StatusForbidden, fmt.Sprintf("Forbidden: Update '%s' is another user's", u.id))
		return
	case u.status != apitype.StatusNotStarted:
		rest.Fail(c.w, http.StatusConflict, "Conflict: The Update has already started")
		return
	case !u.preview && c.stack.running() != nil:
		rest.Fail(c.w, http.StatusConflict, locked)
		return
	}
	u.status, u.info.StartTime, u.info.Result = apitype.StatusRunning, time.Now().Unix(), apitype.InProgressResult
	if u.preview {
		c.stack.previews = append(c.stack.previews, u)
	} else {
		c.stack.history = append(c.stack.history, u)
		if request.Tags != nil {
			c.stack.tags = request.Tags
		}
	}
	u.info.Version = c.stack.version()
	token, until := s.newLease(u, s.options.Lease)
	response := apitype.StartUpdateResponse{Version: u.info.Version, Token: token, TokenExpiration: until.Unix()}
	if s.form == Journal && !u.preview && request.JournalVersion >= 1 {
		if err := u.beginJournal(c.stack.deployment); err != nil {
			rest.Fail(c.w, http.StatusInternalServerError, err.Error())
			return
		}
		response.JournalVersion = 1
	}
	rest.Answer(c.w, http.StatusOK, response)
}

func (s *Service) newLease(u *update, duration time.Duration) (token string, until time.Time) {
	token, until = uuid.NewString(), time.Now().Add(min(duration, s.options.Lease))
	u.tokens[token] = until
	return token, until
}

// leased is the update whose lease the request presents. It answers the request itself where there is none.
// s.mu must be held.
func (s *Service) leased(w http.ResponseWriter, r *http.Request) *update {
	stack, exists := s.stacks[stackID(r.PathValue("org"), r.PathValue("project"), r.PathValue("stack"))]
	if !exists || stack.updates[r.PathValue("update")] == nil {
		rest.Fail(w, http.StatusNotFound, fmt.Sprintf("Not Found: Update '%s' not found", r.PathValue("update")))
		return nil
	}
	u := stack.updates[r.PathValue("update")]
	until, known := u.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "update-token ")]
	switch {
	case !known:
		rest.Fail(w, http.StatusUnauthorized, "Unauthorized: No credentials provided or are invalid.")
	case u.status != apitype.StatusRunning && !strings.HasSuffix(r.URL.Path, "/complete"):
		rest.Fail(w, http.StatusConflict, over)
	case !time.Now().Before(until):
		rest.Fail(w, http.StatusForbidden, "The provided update token has expired.")
	default:
		return u
	}
	return nil
}

// over is Pulumi Cloud's message about an update that has ended.
const over = "Conflict: The Update has already completed"

func (s *Service) renewLease(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.RenewUpdateLeaseRequest
	if !rest.Decode(w, r, &request) {
		return
	}
	token, until := s.newLease(u, time.Duration(request.Duration)*time.Second)
	rest.Answer(w, http.StatusOK, apitype.RenewUpdateLeaseResponse{Token: token, TokenExpiration: until.Unix()})
}

func (s *Service) completeUpdate(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.CompleteUpdateRequest
	if !rest.Decode(w, r, &request) {
		return
	}
	stack := s.stacks[stackID(r.PathValue("org"), r.PathValue("project"), r.PathValue("stack"))]
	switch {
	// It may be sent twice.
	case u.status == apitype.StatusRunning:
		u.end(stack, request.Status)
	case u.status != request.Status:
		rest.Fail(w, http.StatusConflict, over)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) cancelUpdate(c call) {
	u := c.update()
	switch {
	case u == nil:
		return
	case u.preview && u.status == apitype.StatusRunning, u == c.stack.running():
		u.end(c.stack, apitype.UpdateStatusCancelled)
		c.w.WriteHeader(http.StatusNoContent)
	default:
		rest.Fail(c.w, http.StatusConflict, over)
	}
}

// getUpdate answers how an update goes. The CLI asks so after an import alone, which is over at once.
func (s *Service) getUpdate(c call) {
	if u := c.update(); u != nil {
		rest.Answer(c.w, http.StatusOK, apitype.UpdateResults{Status: u.status, Events: []apitype.UpdateEvent{}})
	}
}

func (s *Service) importState(c call) {
	var deployment apitype.UntypedDeployment
	if !c.decode(&deployment) {
		return
	}
	switch {
	case c.stack.running() != nil:
		rest.Fail(c.w, http.StatusConflict, locked)
		return
	case deployment.Version < 1 || deployment.Version > 4 || len(deployment.Deployment) == 0:
		rest.Fail(c.w, http.StatusBadRequest, "Bad Request: The deployment is invalid")
		return
	}
	u := &update{
		id: uuid.NewString(), author: c.user.Name, checkpoint: &deployment,
		info: apitype.UpdateInfo{Kind: apitype.StackImportUpdate, StartTime: time.Now().Unix(), Version: c.stack.version() + 1},
	}
	u.end(c.stack, apitype.StatusSucceeded)
	c.stack.updates[u.id] = u
	c.stack.history = append(c.stack.history, u)
	rest.Answer(c.w, http.StatusOK, apitype.ImportStackResponse{UpdateID: u.id})
}

// listUpdates answers a page of the history, newest first.
func (s *Service) listUpdates(c call) {
	c.stack.running()
	response := apitype.GetHistoryResponse{Updates: []apitype.UpdateInfo{}}
	for _, u := range slices.Backward(c.stack.history) {
		response.Updates = append(response.Updates, u.info)
	}
	size, _ := strconv.Atoi(c.r.URL.Query().Get("pageSize"))
	page, _ := strconv.Atoi(c.r.URL.Query().Get("page"))
	if size > 0 {
		start := min(size*(max(page, 1)-1), len(response.Updates))
		response.Updates = response.Updates[start:min(start+size, len(response.Updates))]
	}
	rest.Answer(c.w, http.StatusOK, response)
}

func (s *Service) getLatestUpdate(c call) {
	if c.stack.version() == 0 {
		rest.Fail(c.w, http.StatusNotFound, "Not Found: The stack has never been updated")
		return
	}
	rest.Answer(c.w, http.StatusOK, map[string]any{"info": c.stack.history[c.stack.version()-1].info})
}

func (s *Service) listPreviews(c call) {
	response := apitype.GetLatestStackPreviewsResponse{Updates: []apitype.StackPreview{}}
	for _, u := range slices.Backward(c.stack.previews) {
		response.Updates = append(response.Updates, apitype.StackPreview{UpdateID: u.id})
	}
	rest.Answer(c.w, http.StatusOK, response)
}

// saveEvents keeps what the CLI shows of an update. No two events have the same number.
func (s *Service) saveEvents(w http.ResponseWriter, r *http.Request, u *update) {
	var batch apitype.EngineEventBatch
	if !rest.Decode(w, r, &batch) {
		return
	}
	for _, event := range batch.Events {
		if slices.ContainsFunc(u.events, func(e apitype.EngineEvent) bool { return e.Sequence == event.Sequence }) {
			rest.Fail(w, http.StatusConflict, fmt.Sprintf("Conflict: The event %d is there already", event.Sequence))
			return
		}
	}
	u.events = append(u.events, batch.Events...)
	for _, event := range batch.Events {
		if event.SummaryEvent != nil {
			u.info.ResourceChanges = map[apitype.OpType]int{}
			for operation, count := range event.SummaryEvent.ResourceChanges {
				u.info.ResourceChanges[operation] = count
			}
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) listEvents(c call) {
	if u := c.update(); u != nil {
		events := slices.SortedFunc(slices.Values(u.events), func(a, b apitype.EngineEvent) int { return cmp.Compare(a.Sequence, b.Sequence) })
		rest.Answer(c.w, http.StatusOK, apitype.GetUpdateEventsResponse{Events: append([]apitype.EngineEvent{}, events...)})
	}
}
