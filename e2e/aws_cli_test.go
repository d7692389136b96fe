package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/rogpeppe/go-internal/testscript"
)

// Where the machine has no AWS CLI, the stories' aws is this test binary.
func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		startAndWait()
	}
	commands := map[string]func(){}
	// This process may be that aws, which is on PATH then.
	if _, err := exec.LookPath("aws"); err != nil || filepath.Base(os.Args[0]) == "aws" {
		commands["aws"] = func() {
			if err := invokeByCommand(context.Background(), os.Args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(254)
			}
		}
	}
	testscript.Main(tests{m}, commands)
}

// invokeByCommand is `aws lambda invoke --region REGION --function-name NAME --payload fileb://FILE OUT`. Another
// form of payload, which the versions of the CLI read differently, is an error.
func invokeByCommand(ctx context.Context, args []string) error {
	if len(args) < 2 || !slices.Equal(args[:2], []string{"lambda", "invoke"}) {
		return fmt.Errorf("aws %q: this stand-in knows lambda invoke only", args)
	}
	flags := flag.NewFlagSet("aws lambda invoke", flag.ContinueOnError)
	region := flags.String("region", "", "")
	function := flags.String("function-name", "", "")
	payload := flags.String("payload", "", "")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	path, isFile := strings.CutPrefix(*payload, "fileb://")
	if !isFile || flags.NArg() != 1 {
		return errors.New("aws lambda invoke: a payload fileb://FILE and one file for the answer are needed")
	}
	event, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	loaded, err := config.LoadDefaultConfig(ctx, config.WithRegion(*region))
	if err != nil {
		return err
	}
	answer, err := lambda.NewFromConfig(loaded).Invoke(ctx, &lambda.InvokeInput{FunctionName: function, Payload: event})
	if err != nil {
		return err
	}
	return os.WriteFile(flags.Arg(0), answer.Payload, 0o600)
}
