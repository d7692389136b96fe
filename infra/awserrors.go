package infra

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

var (
	// AWS's error codes for what is not there end so, and the provider's own messages say so.
	notFoundPattern = regexp.MustCompile(`(?i)notfound|not found|nosuch|no such|no matching|not exist|no longer exists|empty result|couldn't find|StatusCode: 404`)
	deniedPattern   = regexp.MustCompile(`(?i)accessdenied|access denied|unauthorized|not authorized`)
	// Of credentials that have expired AWS speaks as of a security token.
	credentialsPattern = regexp.MustCompile(`(?i)credential|security token|expiredtoken`)
	actionPattern      = regexp.MustCompile(`(?:perform|authorized to perform):? ([a-z0-9-]+:[A-Za-z]+)`)
)

// isNotFound reports whether AWS answered that what was asked for is not there. A host or credentials that were
// not found are no answer.
func isNotFound(err error) bool {
	if err == nil {
		return false
	}
	message := err.Error()
	answered := !strings.Contains(message, "no such host") && !credentialsPattern.MatchString(message) && !deniedPattern.MatchString(message)
	return answered && notFoundPattern.MatchString(message)
}

// awsCLI is the AWS CLI as it asks the account that the provider asks, for the commands that the program prints.
func awsCLI(ctx *pulumi.Context) string {
	profile, _ := ctx.GetConfig("aws:profile")
	switch {
	case profile == "":
		return "aws"
	case plainWord.MatchString(profile):
		return "aws --profile " + profile
	default:
		return "aws --profile '" + strings.ReplaceAll(profile, "'", `'\''`) + "'"
	}
}

// plainWord is a word that a shell takes as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@+-]+$`)

// explain adds to an error of AWS what to do about it: action is the IAM action that was needed.
func explain(ctx *pulumi.Context, err error, action string) error {
	message := err.Error()
	switch {
	case deniedPattern.MatchString(message):
		if found := actionPattern.FindStringSubmatch(message); found != nil {
			action = found[1]
		}
		return fmt.Errorf("%w\n  Whoever runs this program needs the IAM permission %s: add it to their role or user", err, action)
	case credentialsPattern.MatchString(message):
		return fmt.Errorf("%w\n  Log in to AWS first, so that this works: %s sts get-caller-identity", err, awsCLI(ctx))
	}
	return err
}

// perRequest matches what differs in AWS's errors of one cause.
var perRequest = regexp.MustCompile(`(?i)request ?id: [0-9A-Za-z-]+|encoded authorization failure message: \S+`)

// together runs the functions side by side, and returns all their errors, those of one cause once.
func together(functions ...func() error) error {
	failures := make([]error, len(functions))
	var group sync.WaitGroup
	for i, f := range functions {
		group.Go(func() { failures[i] = f() })
	}
	group.Wait()
	said := map[string]bool{}
	return errors.Join(slices.DeleteFunc(failures, func(err error) bool {
		if err == nil {
			return true
		}
		cause := perRequest.ReplaceAllString(err.Error(), "")
		again := said[cause]
		said[cause] = true
		return again
	})...)
}
