package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"esc-connector-lambda-go/e2e/road"
)

// stackCommands are the words about stacks that earlier versions made. Of each, a folder of testdata/stacks holds the
// state, with its secrets in clear, and both documents. {{NAME}} stands there for what is each story's own.
var stackCommands = map[string]command{
	"inherit":   inherit,
	"inherited": inherited,
	"published": published,
	"restore":   restore,
}

// stacks is the folder of stacks that earlier versions made. They are never made anew.
var stacks = func() string {
	folder, err := filepath.Abs("testdata/stacks")
	if err != nil {
		panic(err)
	}
	return folder
}()

// The marks of what JSON has no form for, in states and on the wire to providers alike
// (https://github.com/pulumi/pulumi/blob/v3.259.0/sdk/go/common/resource/sig/sig.go).
const (
	markKey    = "4dabf18193072939515e22adb298388d"
	secretMark = "1b47061264138c4ac30d75fd1eb44270"
)

// keptResource is a resource of a state.
type keptResource struct {
	URN, ID, Type   string
	Custom          bool
	Inputs, Outputs map[string]any
}

func (r keptResource) name() string { return r.URN[strings.LastIndex(r.URN, "::")+2:] }

const environmentType = "pulumiservice:index:Environment"

func decoded(ts *testscript.TestScript, state string) map[string]any {
	var stack map[string]any
	ts.Check(json.Unmarshal([]byte(state), &stack))
	return stack
}

func deploymentOf(stack map[string]any) map[string]any {
	deployment, _ := stack["deployment"].(map[string]any)
	return deployment
}

func resourcesOf(ts *testscript.TestScript, state string) []keptResource {
	var stack struct {
		Deployment struct{ Resources []keptResource }
	}
	ts.Check(json.Unmarshal([]byte(state), &stack))
	return stack.Deployment.Resources
}

// restore STACK brings back, in the project at hand, a stack of testdata/stacks
// as its users would have it: its settings, its state, and both documents with
// live passwords. Its AWS account is empty, as if somebody had cleared it.
func restore(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	kept := filepath.Join(stacks, args[0])
	here := strings.NewReplacer(
		"{{ESC}}", s.cloud.ESCURL, "{{ESC_HOST}}", strings.TrimPrefix(s.cloud.ESCURL, "https://"), "{{ACCOUNT}}", s.cloud.Account)
	for from, to := range map[string]string{
		"Pulumi.dev.yaml": "Pulumi.dev.yaml", "stack.json": "../stack.json", "rotator.yaml": "../kept-rotator.yaml", "managing.yaml": "../kept-managing.yaml",
	} {
		text, err := os.ReadFile(filepath.Join(kept, from))
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(to), []byte(here.Replace(string(text))), 0o600))
	}
	run(ts, false, s.machine.Pulumi, "stack", "import", "--file", ts.MkAbs("../stack.json"))
	// The managing environment first: the rotator's document refers to it.
	for _, environment := range []struct{ name, file string }{
		{"acme/demo/rotatorManagingCreds", "../kept-managing.yaml"}, {"acme/demo/rotator", "../kept-rotator.yaml"},
	} {
		inCloud(ts, func() {
			run(ts, false, s.machine.Pulumi, "env", "init", environment.name, "--file", ts.MkAbs(environment.file))
		})
	}
}

// inherit STACK gives the project at hand, which has the database orders, a stack that an earlier version made: its
// state, both documents with live passwords in them, and all that it had made in AWS and Pulumi Cloud, by the providers'
// own calls. Its settings are the story's to make.
func inherit(ts *testscript.TestScript, _ bool, args []string) {
	s := of(ts)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	own := strings.NewReplacer(s.ownNames(ctx, ts)...)
	kept := func(file string) string {
		text, err := os.ReadFile(filepath.Join(stacks, args[0], file))
		ts.Check(err)
		return own.Replace(string(text))
	}
	// The managing environment first: the rotator's document refers to it.
	for _, environment := range []struct{ name, file string }{{"rotatorManagingCreds", "managing.yaml"}, {"rotator", "rotator.yaml"}} {
		file := ts.MkAbs("../inherited-" + environment.file)
		ts.Check(os.WriteFile(file, []byte(kept(environment.file)), 0o600))
		inCloud(ts, func() { run(ts, false, s.machine.Pulumi, "env", "init", "acme/demo/"+environment.name, "--file", file) })
	}
	state := withStrings(ts, deploy(ctx, ts, kept("stack.json")))
	ts.Check(os.WriteFile(ts.MkAbs("../inherited.json"), []byte(state), 0o600))
	hold(ts, "project", deploymentOf(decoded(ts, state))["resources"])
}

// hold puts resources into the stack at hand, dev of the project, which is new.
func hold(ts *testscript.TestScript, project string, resources any) {
	file := ts.MkAbs("../new.json")
	run(ts, false, of(ts).machine.Pulumi, "stack", "export", "--file", file)
	state := decoded(ts, ts.ReadFile(file))
	deployment := deploymentOf(state)
	if deployment == nil {
		deployment = map[string]any{}
		state["deployment"] = deployment
	}
	deployment["resources"] = resources
	if deployment["secrets_providers"] == nil {
		deployment["secrets_providers"] = map[string]any{"type": "service", "state": map[string]any{
			"url": of(ts).cloud.ESCURL, "owner": road.Organization, "project": project, "stack": "dev",
		}}
	}
	text, err := json.Marshal(state)
	ts.Check(err)
	ts.Check(os.WriteFile(file, text, 0o600))
	run(ts, false, of(ts).machine.Pulumi, "stack", "import", "--file", file)
}

// published PREFIX MANAGING ROTATOR gives the project at hand, old, what a stack of the published template holds in Pulumi
// Cloud, where the environments are: its provider and both environments, the second of which needs the first. The files
// hold their documents. The template's names begin with PulumiEscSecretRotatorLambda-, and from April 2025 on with
// PulumiEscSecretConnectorLambda- (https://github.com/pulumi/esc-rotator-lambdas/blob/main/deploy/index.ts).
func published(ts *testscript.TestScript, _ bool, args []string) {
	const project, providerID = "old", "7a0dc1a5-33c2-4d2f-a3a5-4a1f7f2f6a0e"
	urn := func(kind, name string) string { return "urn:pulumi:dev::" + project + "::" + kind + "::" + name }
	root, provider := urn("pulumi:pulumi:Stack", project+"-dev"), urn("pulumi:providers:pulumiservice", args[0]+"PSP")
	configuration := map[string]any{"apiUrl": of(ts).cloud.ESCURL, "version": road.PulumiServiceVersion}
	resources := []map[string]any{
		{"urn": root, "type": "pulumi:pulumi:Stack", "custom": false},
		{"urn": provider, "type": "pulumi:providers:pulumiservice", "custom": true, "id": providerID, "parent": root,
			"inputs": configuration, "outputs": configuration},
	}
	var before []string
	for i, environment := range []struct{ logicalName, name string }{
		{args[0] + "RotatorEnvironmentManagingCreds", "ordersManagingCreds"}, {args[0] + "RotatorEnvironment", "orders"},
	} {
		text, err := json.Marshal(strings.TrimSpace(ts.ReadFile(args[1+i])))
		ts.Check(err)
		properties := map[string]any{
			"organization": road.Organization, "project": "demo", "name": environment.name,
			"yaml": map[string]any{markKey: secretMark, "plaintext": string(text)},
		}
		this := urn(environmentType, environment.logicalName)
		resources = append(resources, map[string]any{
			"urn": this, "type": environmentType, "custom": true, "id": road.Organization + "/demo/" + environment.name,
			"parent": root, "provider": provider + "::" + providerID, "dependencies": before,
			"inputs": properties, "outputs": properties,
		})
		before = append(before, this)
	}
	hold(ts, project, resources)
}

// ownNames are what stands in a story for the names in a kept stack, as [strings.NewReplacer] takes them.
func (s *story) ownNames(ctx context.Context, ts *testscript.TestScript) []string {
	archive := ts.MkAbs("../inherited.zip")
	bootstrap := ts.MkAbs("../inherited.sh")
	ts.Check(os.WriteFile(bootstrap, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	zip, err := road.Zip(bootstrap)
	ts.Check(err)
	ts.Check(os.WriteFile(archive, zip, 0o600))

	vpc, subnets, group, err := s.cloud.Network(ctx, "orders")
	ts.Check(err)
	slices.Sort(subnets)
	return []string{
		"{{ESC}}", s.cloud.ESCURL, "{{ESC_HOST}}", strings.TrimPrefix(s.cloud.ESCURL, "https://"),
		"{{ACCOUNT}}", s.cloud.Account, "{{VPC}}", vpc,
		"{{SUBNET_1}}", subnets[0], "{{SUBNET_2}}", subnets[1], "{{DATABASE_GROUP}}", group,
		"{{PORT}}", ts.Getenv("PORT"), "{{DATABASE}}", ts.Getenv("DATABASE"), "{{MANAGER}}", ts.Getenv("MANAGER"),
		"{{USER1}}", ts.Getenv("USER1"), "{{USER2}}", ts.Getenv("USER2"), "{{ARCHIVE}}", archive,
	}
}

// deploy makes what the state holds, but for the environments, and answers the state with the ids that it has now.
func deploy(ctx context.Context, ts *testscript.TestScript, state string) string {
	aws, stopAWS := startPlugin(ctx, ts, "aws", road.AWSVersion, map[string]any{"region": road.Region})
	defer stopAWS()
	cloud, stopCloud := startPlugin(ctx, ts, "pulumiservice", road.PulumiServiceVersion, map[string]any{"apiUrl": of(ts).cloud.ESCURL})
	defer stopCloud()
	for i, made := range resourcesOf(ts, state) {
		if !made.Custom || made.Type == environmentType || strings.HasPrefix(made.Type, "pulumi:") {
			continue
		}
		provider := aws
		if strings.HasPrefix(made.Type, "pulumiservice:") {
			provider = cloud
		}
		kept := resourcesOf(ts, state)[i] // with the ids of those before it
		inputs, err := structpb.NewStruct(kept.Inputs)
		ts.Check(err)
		created, err := provider.Create(ctx, &pulumirpc.CreateRequest{Urn: kept.URN, Name: kept.name(), Type: kept.Type, Properties: inputs})
		if err != nil {
			ts.Fatalf("making %s: %v", kept.name(), err)
		}
		changed := map[string]string{kept.ID: created.GetId()}
		differences(changed, kept.Outputs, created.GetProperties().AsMap())
		state = strings.NewReplacer(longestFirst(changed)...).Replace(state)
	}
	return state
}

// startPlugin starts a provider as the CLI has it installed.
func startPlugin(ctx context.Context, ts *testscript.TestScript, name, version string, config map[string]any,
) (client pulumirpc.ResourceProviderClient, stop func()) {
	plugin := exec.CommandContext(ctx, filepath.Join(ts.Getenv("PULUMI_HOME"), "plugins", "resource-"+name+"-v"+version, "pulumi-resource-"+name))
	plugin.Env = append(of(ts).cloud.Environ(), "HOME="+ts.Getenv("HOME"))
	out, err := plugin.StdoutPipe()
	ts.Check(err)
	ts.Check(plugin.Start())
	stop = func() {
		_ = plugin.Process.Kill()
		_ = plugin.Wait()
	}
	port, err := bufio.NewReader(out).ReadString('\n')
	ts.Check(err)
	connection, err := grpc.NewClient("127.0.0.1:"+strings.TrimSpace(port), grpc.WithTransportCredentials(insecure.NewCredentials()))
	ts.Check(err)
	client = pulumirpc.NewResourceProviderClient(connection)
	args, err := structpb.NewStruct(config)
	ts.Check(err)
	_, err = client.Configure(ctx, &pulumirpc.ConfigureRequest{Args: args})
	ts.Check(err)
	return client, stop
}

// differences adds to changed each text of old that new has another of in the same place. Short ones are no names.
func differences(changed map[string]string, old, new any) {
	switch old := old.(type) {
	case string:
		if now, is := new.(string); is && now != old && len(old) > 7 {
			changed[old] = now
		}
	case map[string]any:
		if now, is := new.(map[string]any); is {
			for key := range old {
				differences(changed, old[key], now[key])
			}
		}
	case []any:
		if now, is := new.([]any); is && len(now) == len(old) {
			for i := range old {
				differences(changed, old[i], now[i])
			}
		}
	}
}

func longestFirst(changed map[string]string) []string {
	var pairs []string
	for _, old := range slices.SortedFunc(maps.Keys(changed), func(a, b string) int { return len(b) - len(a) }) {
		if changed[old] != old {
			pairs = append(pairs, old, changed[old])
		}
	}
	return pairs
}

// withStrings is the state with the environments' documents as Check, Create and Read of Pulumi Cloud's provider write
// them, secret strings, trimmed
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/environment.go). The stand-in that
// the kept stacks were made with wrote assets.
func withStrings(ts *testscript.TestScript, state string) string {
	stack, changed := decoded(ts, state), 0
	for _, entry := range deploymentOf(stack)["resources"].([]any) {
		kept := entry.(map[string]any)
		if kept["type"] != environmentType {
			continue
		}
		for _, side := range []string{"inputs", "outputs"} {
			document := kept[side].(map[string]any)["yaml"].(map[string]any)
			var asset struct{ Text string }
			ts.Check(json.Unmarshal([]byte(document["plaintext"].(string)), &asset))
			text, err := json.Marshal(strings.TrimSpace(asset.Text))
			ts.Check(err)
			kept[side].(map[string]any)["yaml"] = map[string]any{markKey: secretMark, "plaintext": string(text)}
			changed++
		}
	}
	if changed != 4 {
		ts.Fatalf("the state holds %d documents, and should hold each of two as an input and as an output", changed)
	}
	text, err := json.Marshal(stack)
	ts.Check(err)
	return string(text)
}

// inherited fails unless the stack still has all that it inherited under the same names, by which an earlier version finds
// it: ARNs stand in the users' documents, and an environment holds the only copy of live passwords.
func inherited(ts *testscript.TestScript, _ bool, _ []string) {
	file := ts.MkAbs("../now.json")
	run(ts, false, of(ts).machine.Pulumi, "stack", "export", "--file", file)
	now := map[string]keptResource{}
	for _, resource := range resourcesOf(ts, ts.ReadFile(file)) {
		now[resource.URN] = resource
	}
	for _, before := range resourcesOf(ts, ts.ReadFile(ts.MkAbs("../inherited.json"))) {
		after, there := now[before.URN]
		switch {
		case !there && !strings.HasPrefix(before.Type, "pulumi:"):
			ts.Fatalf("the stack has lost %s", before.URN)
		case slices.Contains([]string{environmentType, "aws:iam/role:Role", "aws:lambda/function:Function"}, before.Type) && after.ID != before.ID:
			ts.Fatalf("%s was %s, and is %s", before.URN, before.ID, after.ID)
		}
	}
}
