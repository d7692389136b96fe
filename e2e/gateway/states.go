package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// status is what Lambda tells of how far it is with a function, by its own names:
// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
type status struct {
	State                      string `json:",omitempty"`
	StateReasonCode            string `json:",omitempty"`
	StateReason                string `json:",omitempty"`
	LastUpdateStatus           string `json:",omitempty"`
	LastUpdateStatusReasonCode string `json:",omitempty"`
	LastUpdateStatusReason     string `json:",omitempty"`
}

// failure is why Lambda cannot make network interfaces, such as SubnetOutOfIPAddresses.
type failure struct {
	code, text string
	undone     bool // whether the function is told as it was before the change
}

// holder is a function whose interfaces hold a security group that it has left. Lambda deletes them some time later.
type holder struct {
	function string
	tries    int // of deleting the group that are refused yet
}

// heldFor is for how many tries interfaces hold a group. It is for up to 45 minutes that they really do: deleteLingeringLambdaENIs in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_network_interface.go
const heldFor = 2

// HoldInterfaces begins or ends that AWS takes longer to delete the interfaces of functions than anybody waits.
func (g *Gateway) HoldInterfaces(on bool) { g.functions.holding.Store(on) }

// FailInterfaces lets AWS fail to make network interfaces, by a code such as SubnetOutOfIPAddresses: a function that is created then
// ends as Failed, and an update of one's network as well, and of its code after that. What ran before the update goes on running, by
// the page on states in the manual; whether GetFunction then tells of that or of what was sent it does not say. An empty code
// ends it.
func (g *Gateway) FailInterfaces(code, text string, undone bool) {
	if code == "" {
		g.functions.failure.Store(nil)
		return
	}
	g.functions.failure.Store(&failure{code, text, undone})
}

// hold lets interfaces hold the groups for a while. The lock is the caller's.
func (f *functions) hold(function string, groups []string) {
	for _, group := range groups {
		f.held[group] = &holder{function, heldFor}
	}
}

// holderOf names the network interface that holds a security group, by its function, or "". It counts as a try.
func (f *functions) holderOf(group string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, function := range f.byKey {
		if slices.Contains(slices.Concat(function.VpcConfig.SecurityGroupIds, function.made.VpcConfig.SecurityGroupIds), group) {
			return interfaceOf(function.FunctionName)
		}
	}
	held := f.held[group]
	switch {
	case held == nil:
		return ""
	case f.holding.Load():
	case held.tries == 0:
		delete(f.held, group)
		return ""
	default:
		held.tries--
	}
	return interfaceOf(held.function)
}

func interfaceOf(function string) string { return "a network interface of function " + function }

// creates is what the state of a new function goes through.
func (f *functions) creates(function *function) {
	pending := status{State: "Pending", StateReasonCode: "Creating", StateReason: "The function is being created."}
	end := status{State: "Active", LastUpdateStatus: "Successful"}
	if failed := f.failure.Load(); failed != nil && function.VpcConfig.VpcId != "" {
		end = status{State: "Failed", StateReasonCode: failed.code, StateReason: failed.text}
	}
	function.status, function.next = pending, []status{pending, end}
	function.made = made{function.configuration, function.folder}
	function.touch()
}

// touch notes when the function is changed, as Lambda writes it. Two changes are never at one time.
func (fn *function) touch() {
	const layout = "2006-01-02T15:04:05.000+0000"
	now := time.Now().UTC()
	if last, err := time.Parse(layout, fn.lastModified); err == nil && !now.Truncate(time.Millisecond).After(last) {
		now = last.Add(time.Millisecond)
	}
	fn.lastModified = now.Format(layout)
}

var inProgress = status{LastUpdateStatus: "InProgress", LastUpdateStatusReasonCode: "Creating", LastUpdateStatusReason: "The function is being created."}

// undoes begins an update of the network that fails in the end and leaves the function told as it was, where that is what is played.
func (f *functions) undoes(function *function, network network) bool {
	failed := f.failure.Load()
	if failed == nil || !failed.undone || function.VpcConfig.same(network) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	function.touch()
	function.goesOn(failed)
	return true
}

// same reports whether a function has the same interfaces in both networks.
func (n network) same(other network) bool {
	return slices.Equal(n.SecurityGroupIds, other.SecurityGroupIds) && slices.Equal(n.SubnetIds, other.SubnetIds)
}

// goesOn is what the state goes through during a change. The lock is the caller's.
func (fn *function) goesOn(failed *failure) {
	begun, end := inProgress, status{State: fn.status.State, LastUpdateStatus: "Successful"}
	begun.State = fn.status.State
	if failed != nil {
		end.LastUpdateStatus, end.LastUpdateStatusReasonCode, end.LastUpdateStatusReason = "Failed", failed.code, failed.text
	}
	fn.status, fn.next = begun, []status{begun, end}
}

// changes is what the state goes through after an update of the function. Its interfaces are made anew for other groups or subnets,
// and the old ones keep their groups until they are deleted: AWS by way of
// https://github.com/hashicorp/terraform-provider-aws/issues/31520. That a function which has Failed takes an update is not confirmed,
// nor that an update of the code makes the interfaces for which an update of the network has failed.
func (f *functions) changes(function *function) {
	f.mu.Lock()
	function.touch()
	is, ran, failed := function.VpcConfig, function.made.VpcConfig, f.failure.Load()
	if ran.same(is) || is.VpcId == "" {
		failed = nil
	}
	function.goesOn(failed)
	if failed == nil {
		var left []string
		for _, group := range ran.SecurityGroupIds {
			if ran.VpcId != is.VpcId || !slices.Contains(is.SecurityGroupIds, group) {
				left = append(left, group)
			}
		}
		f.hold(function.FunctionName, left)
		function.made = made{function.configuration, function.folder}
	}
	f.mu.Unlock()
	if failed == nil {
		function.stop()
	}
}

// look is a call after which the function's state goes on.
func (f *functions) look(function *function) {
	if function == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(function.next) > 0 {
		function.status, function.next = function.next[0], function.next[1:]
	}
}

// busy refuses a change while the function is made or changed, and reports whether it did.
func (f *functions) busy(w http.ResponseWriter, function *function) bool {
	f.mu.Lock()
	now := function.status
	f.mu.Unlock()
	f.look(function)
	switch {
	case now.State == "Pending":
		lambdaError(w, http.StatusConflict, "ResourceConflictException",
			"The operation cannot be performed at this time. The function is currently in the following state: Pending")
	case now.LastUpdateStatus == "InProgress":
		lambdaError(w, http.StatusConflict, "ResourceConflictException",
			"The operation cannot be performed at this time. An update is in progress for resource: "+function.arn)
	default:
		return false
	}
	return true
}

// ready is the function's state for an invocation. One that is Inactive is refused as Pending, and Lambda makes its network
// interfaces anew, where it can.
func (f *functions) ready(function *function) string {
	defer f.look(function)
	f.mu.Lock()
	defer f.mu.Unlock()
	state := function.status.State
	if state == "Inactive" {
		state = "Pending"
		if f.failure.Load() == nil {
			function.status = status{State: "Active", LastUpdateStatus: "Successful"}
		}
	}
	return state
}

// knows reports whether Lambda has heard of a role that IAM made. It takes some seconds: see the retries of
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go
func (f *functions) knows(roleID string) bool {
	const unknownFor = 2
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[roleID]++
	return f.roles[roleID] > unknownFor
}

// mayRun refuses an invocation that Lambda could not begin: without its role, and where the function has variables and the role was
// made anew, under the same name, since its grant for the variables' key was the old role's:
// https://github.com/hashicorp/terraform-provider-aws/issues/6352. A grant comes with the
// first variables, or with another role.
func (f *functions) mayRun(ctx context.Context, function *function) (code string, err error) {
	role := function.Role[strings.LastIndex(function.Role, "/")+1:]
	live, err := iam.NewFromConfig(f.config(function.region)).GetRole(ctx, &iam.GetRoleInput{RoleName: &role})
	if err != nil {
		return "AccessDeniedException", refusal("The role defined for the function cannot be assumed by Lambda.")
	}
	if len(function.Environment.Variables) > 0 && awssdk.ToString(live.Role.RoleId) != function.grantee {
		return "KMSAccessDeniedException", refusal("Lambda was unable to decrypt the environment variables because KMS access was denied. " +
			"Please check the function's KMS key settings. KMS Exception: AccessDeniedException KMS Message: The ciphertext refers to a customer " +
			"master key that does not exist, does not exist in this region, or you are not allowed to access.")
	}
	return "", nil
}

// concurrency is how many of a function may run at once. None is what the console's Throttle sets, which stops the function:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
type concurrency struct{ ReservedConcurrentExecutions int }

// reserve answers PutFunctionConcurrency and DeleteFunctionConcurrency: moto takes none for no limit.
func (f *functions) reserve(w http.ResponseWriter, r *http.Request, known *function, body []byte) {
	var wanted *concurrency
	if r.Method == http.MethodPut {
		wanted = &concurrency{}
		if err := json.Unmarshal(body, wanted); err != nil {
			lambdaError(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
			return
		}
	}
	if known == nil {
		lambdaError(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+r.URL.Path)
		return
	}
	f.mu.Lock()
	known.reserved = wanted
	f.mu.Unlock()
	if wanted == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	answer(w, http.StatusOK, wanted)
}

// stopped reports whether none of the function may run.
func (f *functions) stopped(function *function) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return function.reserved != nil && function.reserved.ReservedConcurrentExecutions == 0
}

// publish keeps the function as it is now, under the next number. No later change of the function changes that:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-versions.html
func (f *functions) publish(w http.ResponseWriter, r *http.Request, known *function) {
	if !f.forward(w, r, known) || known == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known.published = append(known.published, &function{configuration: known.configuration, code: known.code, status: known.status})
}

// version is what a qualifier names of a function: a version by its number, else the function itself.
func (f *functions) version(of *function, qualifier string) *function {
	number, err := strconv.Atoi(qualifier)
	if err != nil || of == nil {
		return of
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if number < 1 || number > len(of.published) {
		return nil
	}
	return of.published[number-1]
}

// tell puts into an answer of moto's what the gateway keeps of the function. The lock is the caller's.
func (fn *function) tell(target map[string]any) {
	target["CodeSha256"], target["CodeSize"], target["LastModified"] = fn.CodeSha256, fn.CodeSize, fn.lastModified
	if fn.SigningJobArn != "" {
		target["SigningJobArn"] = fn.SigningJobArn
	}
	if text, err := json.Marshal(fn.status); err == nil {
		for _, key := range []string{"State", "StateReason", "StateReasonCode", "LastUpdateStatus"} {
			delete(target, key)
		}
		_ = json.Unmarshal(text, &target)
	}
	delete(target, "VpcConfig")
	if fn.VpcConfig.VpcId != "" {
		target["VpcConfig"] = fn.VpcConfig
	}
	delete(target, "Environment")
	if len(fn.Environment.Variables) > 0 {
		target["Environment"] = fn.Environment
	}
	if fn.LoggingConfig == nil {
		return
	}
	logging := map[string]any{}
	if err := json.Unmarshal(fn.LoggingConfig, &logging); err != nil {
		return
	}
	for _, level := range []string{"ApplicationLogLevel", "SystemLogLevel"} {
		if logging[level] == nil && logging["LogFormat"] == "JSON" {
			logging[level] = "INFO" // Lambda's default for the format
		}
	}
	target["LoggingConfig"] = logging
}
