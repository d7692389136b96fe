// Package policy decides by IAM policy documents, as AWS does for identity
// policies and role trust policies, as far as this project's policies go: an
// explicit Deny wins, else an Allow is needed. What it does not know (an unknown
// condition operator, NotAction, NotPrincipal, NotResource) is an error, never a
// guess.
package policy

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Request is what a policy is asked about.
type Request struct {
	// Action as in "lambda:InvokeFunction".
	Action string
	// Resource is an ARN; empty for a trust policy.
	Resource string
	// Principal is who asks, for a trust policy: the type and the value as they
	// stand in a policy ("Federated", "Service", "AWS").
	PrincipalType, Principal string
	// Context holds the condition keys that the call carries.
	Context map[string]string
}

// Allows reports whether the documents, each a policy in JSON, allow the request.
func Allows(documents []string, request Request) (bool, error) {
	allowed := false
	for _, text := range documents {
		var document struct {
			Statement oneOrMore[statement]
		}
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return false, fmt.Errorf("reading a policy document: %w", err)
		}
		for _, statement := range document.Statement {
			applies, err := statement.applies(request)
			if err != nil {
				return false, err
			}
			switch {
			case applies && statement.Effect == "Deny":
				return false, nil
			case applies && statement.Effect == "Allow":
				allowed = true
			}
		}
	}
	return allowed, nil
}

type statement struct {
	Sid                     string
	Effect                  string
	Action, Resource        oneOrMore[string]
	NotAction, NotResource  oneOrMore[string]
	Principal, NotPrincipal json.RawMessage
	Condition               map[string]map[string]oneOrMore[string]
}

func (s statement) applies(request Request) (bool, error) {
	if len(s.NotAction) > 0 || len(s.NotResource) > 0 || s.NotPrincipal != nil {
		return false, fmt.Errorf("policy statement %q: NotAction, NotResource and NotPrincipal are not understood here", s.Sid)
	}
	if !slices.ContainsFunc(s.Action, func(pattern string) bool {
		return like(strings.ToLower(pattern), strings.ToLower(request.Action))
	}) {
		return false, nil
	}
	if request.Resource != "" && !slices.ContainsFunc(s.Resource, func(pattern string) bool {
		return like(pattern, request.Resource)
	}) {
		return false, nil
	}
	if request.Principal != "" {
		var principals map[string]oneOrMore[string]
		if err := json.Unmarshal(s.Principal, &principals); err != nil {
			return false, fmt.Errorf("policy statement %q: its Principal is not an object: %w", s.Sid, err)
		}
		if !slices.Contains(principals[request.PrincipalType], request.Principal) {
			return false, nil
		}
	}
	for operator, conditions := range s.Condition {
		for key, values := range conditions {
			holds, err := condition(operator, values, key, request.Context)
			if err != nil || !holds {
				return false, err
			}
		}
	}
	return true, nil
}

// condition follows the IAM manual's "Condition operators": a key that the
// request does not carry fails a positive operator.
func condition(operator string, values []string, key string, context map[string]string) (bool, error) {
	actual, carried := "", false
	for name, value := range context {
		if strings.EqualFold(name, key) {
			actual, carried = value, true
		}
	}
	switch operator {
	case "StringEquals":
		return carried && slices.Contains(values, actual), nil
	case "StringLike", "ArnLike", "ArnEquals":
		return carried && slices.ContainsFunc(values, func(pattern string) bool { return like(pattern, actual) }), nil
	case "Bool":
		return carried && slices.Contains(values, actual), nil
	default:
		return false, fmt.Errorf("condition operator %q is not understood here", operator)
	}
}

// like matches IAM's wildcards: * is any run of characters, / included, and ? is one.
func like(pattern, value string) bool {
	// path.Match stops * at slashes and reads [ and \, which mean themselves here.
	escape := strings.NewReplacer(`\`, `\\`, `[`, `\[`, "/", "\x00").Replace(pattern)
	matched, err := path.Match(escape, strings.ReplaceAll(value, "/", "\x00"))
	return err == nil && matched
}

// oneOrMore reads a JSON value that may stand alone or in a list.
type oneOrMore[T any] []T

func (l *oneOrMore[T]) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '[' {
		return json.Unmarshal(text, (*[]T)(l))
	}
	var one T
	if err := json.Unmarshal(text, &one); err != nil {
		return err
	}
	*l = oneOrMore[T]{one}
	return nil
}
