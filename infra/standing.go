package infra

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/urn"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The provider leaves a change that AWS has refused in the state as done (https://github.com/pulumi/pulumi-aws/issues/6062), so
// that the next update finds nothing to do. To make the function anew would delete it first, and where AWS refuses the same
// again there would be none. So the program compares a function that stands with the state:
//
//	what differs             what it means                        what is done
//	the code                 AWS refused it, or never got it      it is sent again
//	when it was changed      AWS took a change, which failed      the code is sent again, by which AWS makes the rest again
//	configuration, signing   AWS refused it, or somebody changed  a warning names the refresh that finds it
//	a tag                    the same                             nothing: a refresh finds it
//	none of it may run       somebody has stopped it              a warning names what lets it run: no update does
//
// Of a change that fails after AWS took it (subnets without a free address, for instance), AWS keeps what was there before
// running, and takes another change; a function whose creation failed must be made anew: LastUpdateStatus and State in
// https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html

// afterFailure makes a function anew, under the same name, which AWS has never made: then the state has no ARN. The engine's name for
// such a failure is in pkg/resource/deploy.
var afterFailure = pulumi.ReplaceOnChanges([]string{"#initerror"})

// sentAgain marks a hash of code that is sent another time: for the provider the hash is any text, whose change has it send
// the code (needsFunctionCodeUpdate in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go). Of code in S3 the mark is
// all of the hash, and is put on or taken away by turns.
const sentAgain = " again"

var marks = []string{"sent" + sentAgain, "sent" + sentAgain + sentAgain}

// signedPrefix is where the signed archives are in the bucket, each named by its signing job.
const signedPrefix = "signed/"

// standing is a function as the state has it and as AWS has it.
type standing struct {
	was  resourceOutputs
	live *lambda.LookupFunctionResult
	// What of the live one differs, but for the code.
	configuration []string
}

// findStanding is nil where the state has no whole function, or AWS does not tell of it.
func (d *deployment) findStanding() *standing {
	was := d.last.outputs(functionResource)
	if !d.last.hasFunction() {
		return nil
	}
	live, err := lambda.LookupFunction(d.ctx, &lambda.LookupFunctionArgs{FunctionName: d.names.function})
	if latest := "$LATEST"; err == nil && live.Version != latest {
		// The provider answers the newest version that somebody has published, and the function itself only where it is named
		// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function_data_source.go).
		live, err = lambda.LookupFunction(d.ctx, &lambda.LookupFunctionArgs{FunctionName: d.names.function, Qualifier: &latest})
	}
	if err != nil {
		return nil
	}
	s, err := compared(was, live, d.account.Region)
	if err != nil {
		return nil
	}
	return s
}

func compared(was resourceOutputs, live *lambda.LookupFunctionResult, region string) (*standing, error) {
	differing, err := was.differing(live)
	s := &standing{was: was, live: live, configuration: differing}
	if slices.Contains(readSigning, region) && text(was.CodeSigningConfigArn) != live.CodeSigningConfigArn {
		s.configuration = append(s.configuration, "CodeSigningConfigArn")
	}
	return s, err
}

// arrived reports whether AWS has the code that the state has. Where nothing tells, it does.
func (s *standing) arrived() bool {
	_, job, signed := strings.Cut(s.live.SigningJobArn, "/signing-jobs/")
	switch key := text(s.was.S3Key); {
	case key == "":
		return s.live.CodeSha256 == strings.TrimSuffix(text(s.was.SourceCodeHash), sentAgain)
	case signed && strings.HasPrefix(key, signedPrefix):
		return strings.Contains(key, job)
	}
	return true
}

// settled reports whether AWS has the code, and the provider has seen the end of the last change: only then has it read when that
// was. Others that change the function do it at other times, and cost an update.
func (s *standing) settled() bool {
	return s.arrived() && text(s.was.LastModified) == s.live.LastModified
}

// toSendAgain reports whether the code is sent again. With a configuration that AWS refused it gets no new code: that may need it.
func (s *standing) toSendAgain() bool { return s != nil && len(s.configuration) == 0 && !s.settled() }

// hashOf is the hash of code that is uploaded, whose own AWS reports.
func (s *standing) hashOf(archive *archive.Archive) string {
	if s == nil || len(s.configuration) > 0 {
		return archive.SHA256
	}
	sent := text(s.was.SourceCodeHash)
	if strings.TrimSuffix(sent, sentAgain) == archive.SHA256 && s.settled() == strings.HasSuffix(sent, sentAgain) {
		return archive.SHA256 + sentAgain
	}
	return archive.SHA256
}

// mark is the hash of code in S3, nil for code that was never sent again.
func (s *standing) mark() pulumi.StringPtrInput {
	if s == nil {
		return nil
	}
	at := slices.Index(marks, text(s.was.SourceCodeHash))
	if s.toSendAgain() {
		at = (at + 1) % len(marks)
	}
	if at < 0 {
		return nil
	}
	return pulumi.String(marks[at])
}

// warnOfConfiguration warns of a configuration in AWS that an update does not see.
func (d *deployment) warnOfConfiguration() error {
	if d.stands == nil || len(d.stands.configuration) == 0 {
		return nil
	}
	return d.ctx.Log.Warn(fmt.Sprintf(`AWS has the function %s otherwise than this stack's state says (%s): a change failed there, or somebody has made one. An update does not see that:
    pulumi refresh --target %s
    pulumi up`, d.names.function, strings.Join(d.stands.configuration, ", "),
		urn.New(tokens.QName(d.ctx.Stack()), tokens.PackageName(d.ctx.Project()), "", tokens.Type(registeredTypes[functionResource]), functionResource).Quote()), nil)
}

// stopped reports whether somebody has seen to it that none of the function runs, as the console's Throttle does:
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
// The provider has -1 there where nothing is reserved
// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function_data_source.go).
func (s *standing) stopped() bool { return s != nil && s.live.ReservedConcurrentExecutions == 0 }

func (d *deployment) warnOfStop() error {
	if !d.stands.stopped() {
		return nil
	}
	return d.ctx.Log.Warn(fmt.Sprintf("Somebody has stopped the function %[1]s: its reserved concurrency is 0, as Throttle in the console sets it, and AWS refuses every rotation. "+
		"An update leaves that as it is, but for one that makes the function anew. To let it run again:\n    %[2]s lambda delete-function-concurrency --region %[3]s --function-name %[1]s",
		d.names.function, d.account.CLI, d.account.Region), nil)
}

// differing are the parts of the function's configuration that AWS has otherwise than the state.
func (r resourceOutputs) differing(live *lambda.LookupFunctionResult) ([]string, error) {
	type network struct {
		SubnetIds, SecurityGroupIds []string
		Ipv6AllowedForDualStack     bool
	}
	type configuration struct {
		Role, Runtime, Handler, Description string
		Timeout, MemorySize                 int
		Environment                         struct{ Variables map[string]string }
		VpcConfig                           network
		LoggingConfig                       struct{ LogFormat, LogGroup string }
	}
	var is, state configuration
	encoded, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(encoded, &state)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the function's state: %w", err)
	}
	is.Role, is.Runtime, is.Handler, is.Description = live.Role, live.Runtime, live.Handler, live.Description
	is.Timeout, is.MemorySize = live.Timeout, live.MemorySize
	is.Environment.Variables = live.Environment.Variables
	is.VpcConfig = network{live.VpcConfig.SubnetIds, live.VpcConfig.SecurityGroupIds, live.VpcConfig.Ipv6AllowedForDualStack}
	for _, logging := range live.LoggingConfigs {
		is.LoggingConfig.LogFormat, is.LoggingConfig.LogGroup = logging.LogFormat, logging.LogGroup
	}
	for _, c := range []*configuration{&is, &state} {
		c.VpcConfig.SubnetIds = slices.Sorted(slices.Values(c.VpcConfig.SubnetIds))
		c.VpcConfig.SecurityGroupIds = slices.Sorted(slices.Values(c.VpcConfig.SecurityGroupIds))
		if len(c.Environment.Variables) == 0 {
			c.Environment.Variables = nil
		}
	}
	var names []string
	one, other := reflect.ValueOf(is), reflect.ValueOf(state)
	for i := range one.NumField() {
		if !reflect.DeepEqual(one.Field(i).Interface(), other.Field(i).Interface()) {
			names = append(names, one.Type().Field(i).Name)
		}
	}
	return names, nil
}
