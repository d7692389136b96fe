package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// statementIDPattern is a statement's id in a function's policy, of at most 100 characters:
// https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html
var statementIDPattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,100}$`)

// addPermission refuses a second statement of an id, be it the same one, which moto takes. The words are those that
// https://github.com/terraform-aws-modules/terraform-aws-lambda/issues/547 has.
func (f *functions) addPermission(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	var request struct{ StatementId string }
	if err := json.Unmarshal(body, &request); err != nil {
		lambdaError(w, http.StatusBadRequest, "InvalidRequestContentException", err.Error())
		return
	}
	if !statementIDPattern.MatchString(request.StatementId) {
		lambdaError(w, http.StatusBadRequest, "ValidationException", fmt.Sprintf("1 validation error detected: Value '%s' at 'statementId' "+
			`failed to satisfy constraint: Member must satisfy regular expression pattern: ([a-zA-Z0-9-_]+)`, request.StatementId))
		return
	}
	if f.hasStatement(r, name, request.StatementId) {
		lambdaError(w, http.StatusConflict, "ResourceConflictException", fmt.Sprintf(
			"The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", request.StatementId))
		return
	}
	f.gateway.moto.ServeHTTP(w, r)
}

// hasStatement reports whether the function's policy has a statement of that id. One without a policy, or that is not there, has none.
func (f *functions) hasStatement(r *http.Request, name, id string) bool {
	found, err := lambda.NewFromConfig(f.config(regionOf(r))).GetPolicy(r.Context(), &lambda.GetPolicyInput{FunctionName: &name})
	if err != nil {
		return false
	}
	var policy struct{ Statement []struct{ Sid string } }
	if json.Unmarshal([]byte(awssdk.ToString(found.Policy)), &policy) != nil {
		return false
	}
	for _, statement := range policy.Statement {
		if statement.Sid == id {
			return true
		}
	}
	return false
}
