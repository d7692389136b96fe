package state

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/hexops/gotextdiff"
	"github.com/pulumi/pulumi/pkg/v3/backend"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"

	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

func (s *Service) saveWhole(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.PatchUpdateCheckpointRequest
	if !rest.Decode(w, r, &request) {
		return
	}
	u.checkpoint = &apitype.UntypedDeployment{Version: request.Version, Features: request.Features, Deployment: request.Deployment}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Service) saveVerbatim(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.PatchUpdateVerbatimCheckpointRequest
	if rest.Decode(w, r, &request) {
		u.saveText(w, request.SequenceNumber, string(request.UntypedDeployment))
	}
}

func (s *Service) saveDelta(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.PatchUpdateCheckpointDeltaRequest
	if !rest.Decode(w, r, &request) {
		return
	}
	var edits []gotextdiff.TextEdit
	if err := json.Unmarshal(request.DeploymentDelta, &edits); err != nil {
		rest.Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	text := u.verbatim
	if request.SequenceNumber > u.sequence {
		text = gotextdiff.ApplyEdits(u.verbatim, edits)
	}
	sum := sha256.Sum256([]byte(text))
	if hex.EncodeToString(sum[:]) != request.CheckpointHash {
		// The client sends the whole checkpoint then.
		rest.Fail(w, http.StatusConflict, "Conflict: The delta does not lead to the checkpoint of that hash")
		return
	}
	u.saveText(w, request.SequenceNumber, text)
}

// saveText keeps a checkpoint and its text. A number that was there already is a request that was sent twice.
func (u *update) saveText(w http.ResponseWriter, sequence int, text string) {
	if sequence > u.sequence {
		var deployment apitype.UntypedDeployment
		if err := json.Unmarshal([]byte(text), &deployment); err != nil {
			rest.Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
			return
		}
		u.sequence, u.verbatim, u.checkpoint = sequence, text, &deployment
	}
	w.WriteHeader(http.StatusNoContent)
}

// beginJournal makes checkpoints of journal entries from now on, as the CLI does itself where it sends none.
func (u *update) beginJournal(deployment apitype.UntypedDeployment) error {
	var base apitype.DeploymentV3
	if err := json.Unmarshal(deployment.Deployment, &base); err != nil {
		return fmt.Errorf("reading the stack's state: %w", err)
	}
	u.journal = backend.NewJournalReplayer(&base)
	return nil
}

func (s *Service) saveJournal(w http.ResponseWriter, r *http.Request, u *update) {
	var request apitype.JournalEntries
	if !rest.Decode(w, r, &request) {
		return
	}
	if u.journal == nil {
		rest.Fail(w, http.StatusBadRequest, "Bad Request: The update keeps no journal")
		return
	}
	for _, entry := range request.Entries {
		if u.entries[entry.SequenceID] {
			continue // sent twice
		}
		u.entries[entry.SequenceID] = true
		if err := u.journal.Add(entry); err != nil {
			rest.Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
			return
		}
	}
	made, err := u.journal.GenerateDeployment()
	if err != nil {
		rest.Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return
	}
	if u.checkpoint, err = made.Deployment.ToUntypedDeployment(made.Version, made.Features); err != nil {
		rest.Fail(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
