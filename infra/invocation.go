package infra

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/sig"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// noAnswer is the error of a function that did not answer an event.
type noAnswer struct {
	why    string // AWS's words, or the function's, without what differs from one request to another
	denied bool   // whether who runs this program may not invoke it
}

func (e *noAnswer) Error() string { return e.why }

// patience is how long an invocation is tried again while AWS makes a function's network interfaces, as it does anew for
// one that was idle for weeks: https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
const patience = 90 * time.Second

// mayNotInvoke is Lambda's code for who may not invoke a function. KMSAccessDeniedException and EC2AccessDeniedException are about what
// its execution role may do.
var mayNotInvoke = regexp.MustCompile(`\bAccessDenied(?:Exception)?\b`)

var stateConflict = regexp.MustCompile(`ResourceConflictException.*(?:state: Pending|state: Inactive|update is in progress)`)

// isStopped is why a function is not asked that AWS refuses to run: the provider would try 25 times, with up to five minutes in between
// (resolveRetryer in https://github.com/hashicorp/aws-sdk-go-base/blob/main/aws_config.go).
const isStopped = "the function is stopped"

// ask has the function answer an event. What else AWS refuses for a while the provider sends again by itself. The error is a
// *noAnswer.
func (c *Connector) ask(ctx *pulumi.Context, request event.Request) (event.Answer, error) {
	var answer event.Answer
	if c.deployment.stands.stopped() {
		return answer, &noAnswer{why: isStopped}
	}
	input, err := request.Wire()
	if err != nil {
		return answer, &noAnswer{why: "writing the event: " + err.Error()}
	}
	var result invocation
	for started, pause := time.Now(), time.Second; ; pause *= 2 {
		// Not Invoke, which refuses an answer with secrets in it.
		_, err = ctx.InvokePackageRaw(invocationToken, invocationArgs{c.deployment.names.function, markedSecret(string(input))}, &result, "", pulumi.Version(awsVersion))
		if err == nil || !stateConflict.MatchString(err.Error()) || time.Since(started)+pause > patience {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		return answer, &noAnswer{why: failureOf(err), denied: mayNotInvoke.MatchString(err.Error())}
	}
	if err := json.Unmarshal([]byte(result.Result), &answer); err != nil || answer.Code == 0 {
		return answer, &noAnswer{why: "the function's answer is not the connector's"}
	}
	return answer, nil
}

// markedSecret is a text that the engine takes for a secret, and so keeps out of its logs: the SDK drops the mark of an
// argument that is given as an Output.
func markedSecret(text string) map[string]any {
	return map[string]any{sig.Key: sig.Secret, "value": text}
}

var (
	// What stands before the words of Lambda and of the function: the SDK's, the engine's and the provider's.
	beforeFailure = regexp.MustCompile(`(?s)^.*invoking Lambda Function \([^)]*\): `)
	beforeAWS     = regexp.MustCompile(`^operation error Lambda: Invoke, (?:exceeded maximum number of attempts, \d+, )?https response error StatusCode: (?:\d+), RequestID: [^,]*, (?:api error )?`)
	beforeError   = regexp.MustCompile(`^(?:\S+ )?RequestId: \S+ (?:Error: )?`)
)

// failureOf is why an invocation failed. Of a function that failed the provider has the payload in its error.
func failureOf(err error) string {
	why := strings.TrimSpace(beforeFailure.ReplaceAllString(err.Error(), ""))
	var payload struct{ ErrorMessage string }
	if json.Unmarshal([]byte(why), &payload) == nil && payload.ErrorMessage != "" {
		return "the function failed: " + beforeError.ReplaceAllString(payload.ErrorMessage, "")
	}
	return beforeAWS.ReplaceAllString(why, "AWS Lambda: ")
}

// passing is what a message says of one moment: addresses, dates, and how long something took.
var passing = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(` ?\(` + anAddress + `(?:, ` + anAddress + `)*\)`), ""},
	{regexp.MustCompile(`;? ?\(?[Tt]ried ` + anAddress + `(?:, ` + anAddress + `)*\)?\.?`), ""},
	{regexp.MustCompile(`; tried \d+ times in \d+(?:\.\d+)? s`), ""},
	{regexp.MustCompile(` (?:after|for|within) \d+(?:\.\d+)? ?s(?:econds)?\b`), ""},
	{regexp.MustCompile(`\d{4}-\d{2}-\d{2}(?:T[0-9:.]+Z?)?`), "…"},
	{regexp.MustCompile(anAddress), "…"},
}

const anAddress = `(?:\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}(?:%\w+)?|::1\b)`

// lasting is a message without what differs the next time although nothing has changed.
func lasting(message string) string {
	for _, p := range passing {
		message = p.pattern.ReplaceAllString(message, p.instead)
	}
	return strings.TrimSpace(message)
}

// mayInvoke is what whoever runs this program lacks where AWS denies an invocation.
func (c *Connector) mayInvoke() string {
	return "lambda:InvokeFunction on " + c.deployment.functionARN()
}

// isDenied reports whether an error is that of who may not invoke the function.
func isDenied(err error) bool {
	var unanswered *noAnswer
	return errors.As(err, &unanswered) && unanswered.denied
}
