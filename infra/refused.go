package infra

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The provider leaves a change that AWS has refused in the state as done (https://github.com/pulumi/pulumi-aws/issues/6062), so
// that the next update would find nothing to do. A function that stands is given its code once more. To make it anew would
// delete it first, and where AWS refuses the code again there would be none.

// afterFailure makes a function anew, under the same name, whose last change failed. The engine's name for such a failure is
// in pkg/resource/deploy.
var afterFailure = pulumi.ReplaceOnChanges([]string{"#initerror"})

// sentAgain marks a hash of code that is sent another time: for the provider the hash is any text, whose change has it send
// the code (needsFunctionCodeUpdate in
// https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go).
const sentAgain = " again"

// uploaded is code that is not signed, whose hash AWS reports as it is here. Where AWS has the function as the state has it but
// for its code, the code is what a failure has kept away.
func (d *deployment) uploaded(archive *Archive) *functionCode {
	hash, inPlace := d.hashToSend(archive.SHA256)
	return &functionCode{upload: pulumi.NewFileArchive(archive.Path), hash: pulumi.String(hash), inPlace: inPlace}
}

func (d *deployment) hashToSend(hash string) (toSend string, inPlace bool) {
	was := d.last.resources[functionResource]
	if d.last.arnPart(regionPart) == "" { // it was never whole
		return hash, false
	}
	live, err := lambda.LookupFunction(d.ctx, &lambda.LookupFunctionArgs{FunctionName: d.names.function})
	if err != nil || !was.configured(live) {
		return hash, false
	}
	sent := text(was.SourceCodeHash)
	arrived := live.CodeSha256 == strings.TrimSuffix(sent, sentAgain)
	if strings.TrimSuffix(sent, sentAgain) == hash && arrived == strings.HasSuffix(sent, sentAgain) {
		hash += sentAgain
	}
	return hash, !arrived
}

// configured reports whether AWS has the function's configuration as the state has it.
func (r resourceOutputs) configured(live *lambda.LookupFunctionResult) bool {
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
	if err != nil || json.Unmarshal(encoded, &state) != nil {
		return false
	}
	is.Role, is.Runtime, is.Handler, is.Description = live.Role, live.Runtime, live.Handler, live.Description
	is.Timeout, is.MemorySize = live.Timeout, live.MemorySize
	is.Environment.Variables = live.Environment.Variables
	is.VpcConfig = network{live.VpcConfig.SubnetIds, live.VpcConfig.SecurityGroupIds, live.VpcConfig.Ipv6AllowedForDualStack}
	for _, logging := range live.LoggingConfigs {
		is.LoggingConfig.LogFormat, is.LoggingConfig.LogGroup = logging.LogFormat, logging.LogGroup
	}
	for _, c := range []*configuration{&is, &state} {
		slices.Sort(c.VpcConfig.SubnetIds)
		slices.Sort(c.VpcConfig.SecurityGroupIds)
	}
	same := maps.Equal(is.Environment.Variables, state.Environment.Variables)
	is.Environment.Variables, state.Environment.Variables = nil, nil
	return same && reflect.DeepEqual(is, state)
}
