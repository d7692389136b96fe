package infra

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
)

// policy is an IAM policy document:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policy struct {
	Version   string
	Statement []statement
}

type statement struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  []string   `json:",omitempty"`
	Condition conditions `json:",omitempty"`
}

// notInPolicies is what IAM takes in no policy, but for control characters, which JSON escapes:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
var notInPolicies = regexp.MustCompile(`[^\x00-\xFF]`)

// conditions are values by key by operator, such as {"StringEquals": {"aws:SourceAccount": "..."}}.
type conditions map[string]map[string]string

func newPolicy(statements ...statement) policy {
	return policy{Version: "2012-10-17", Statement: statements}
}

// json is the document as AWS takes it.
func (p policy) json() (string, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(p); err != nil {
		return "", fmt.Errorf("writing an IAM policy: %w", err)
	}
	return string(bytes.TrimSpace(out.Bytes())), nil
}
