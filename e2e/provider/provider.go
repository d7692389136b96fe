// Package provider serves a Pulumi resource provider from a table.
//
// A stand-in provider is a [Provider]: a row for each resource type and each
// function it knows. Everything else is refused by name, as is every input
// that a row does not list, so that a stand-in never pretends to do what it
// cannot do. [Main] is the whole of such a plugin's main function.
package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil/rpcerror"
	sdkprovider "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Provider is the table of what one provider knows.
type Provider struct {
	// Name is the package's name, as in "aws".
	Name string
	// Version is a semantic version without "v". The CLI records it in the state.
	Version string
	// Config lists the configuration keys that are understood; another is refused.
	Config []string
	// Bridged is that it is one on Terraform's SDK, behind Pulumi's bridge. An update that failed, and a creation that failed after the
	// resource was there, stand in the state as done then, with what failed beside it (https://github.com/pulumi/pulumi-aws/issues/6062);
	// and what an update is to ignore stays as the state has it (newIgnoreChanges in
	// https://github.com/pulumi/pulumi-terraform-bridge/blob/v3.110.0/pkg/tfbridge/diff.go).
	Bridged bool
	// AcceptsSecrets is that the provider hears which inputs are secret, and itself keeps them so in what it checks and makes, as providers on
	// https://github.com/pulumi/pulumi-go-provider do. The engine then marks nothing by itself, not even what a read answers.
	AcceptsSecrets bool
	// Configure gets the configuration, once, before any other call.
	Configure func(ctx context.Context, config map[string]string) error
	// Resources has a row for each resource type token.
	Resources map[string]Resource
	// Functions has a row for each function (invoke) token.
	Functions map[string]Function
}

// Resource is how one resource type is checked, compared and kept.
// Property maps hold plain values: secrets are unwrapped before a call, and
// the engine marks outputs again by the inputs of the same name. What a row answers as a secret stays one.
type Resource struct {
	// Inputs are all the properties that a program may set.
	Inputs []string
	// Required are the inputs that must be set.
	Required []string
	// Replace are the inputs whose change replaces the resource.
	Replace []string
	// ReplaceFor answers further inputs whose change replaces the resource, by what stands and what is wanted. May be nil.
	ReplaceFor func(state, wanted resource.PropertyMap) []string
	// Same are the inputs of which two values can mean the same, by their paths, as in "vpcConfig.subnetIds". May be nil.
	Same map[string]Same
	// Kept are those of Same whose text a read leaves in the state as it is, where the service's means the same.
	Kept []string
	// Computed are the inputs, by their paths, that are the service's to fill where the program sets none: then what it has is no difference.
	Computed []string
	// Unread are the inputs that the provider does not read: they stay in the state as they are, whatever the service has.
	Unread []string
	// Renews are the outputs that an update of an input changes, by the input: in its preview they are unknown.
	Renews map[string][]string
	// Framework is that the resource is one on Terraform's plugin framework, of which an update that failed leaves the state as it was
	// (UpdateWithContext in https://github.com/pulumi/pulumi-terraform-bridge/blob/v3.110.0/pkg/pf/tfbridge/provider_update.go).
	Framework bool
	// DeleteBeforeReplace deletes the old resource first when it is replaced.
	DeleteBeforeReplace bool
	// Check completes the inputs, for instance with a generated name. May be nil.
	Check func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error)
	// Create makes the resource. It answers the id and all outputs; inputs that
	// are not among them are added. Outputs that are nil are what Read then answers. An id beside an error is that of a
	// resource that is there all the same.
	Create func(ctx context.Context, inputs resource.PropertyMap) (id string, outputs resource.PropertyMap, err error)
	// Read answers the live properties, inputs among them; nil means "not there". What the service has not is in none of
	// them, unless Unread names it.
	Read func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error)
	// Update changes what differs. Nil when every change replaces. Outputs that are nil are what Read then answers.
	Update func(ctx context.Context, id string, state, inputs resource.PropertyMap) (outputs resource.PropertyMap, err error)
	// Delete removes the resource; one that is gone already is no error.
	Delete func(ctx context.Context, id string, state resource.PropertyMap) error
}

// Function answers one invoke. Its error is shown to the user.
type Function func(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error)

// Main serves p until the engine that started this process ends. It does not return.
func Main(p Provider) {
	err := sdkprovider.Main(p.Name, func(*sdkprovider.HostClient) (pulumirpc.ResourceProviderServer, error) { return p.Server(), nil })
	if err != nil {
		fmt.Fprintf(os.Stderr, "serving the %s provider: %v\n", p.Name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Server is p as an engine calls it.
func (p Provider) Server() pulumirpc.ResourceProviderServer { return &server{provider: p} }

type server struct {
	pulumirpc.UnimplementedResourceProviderServer
	provider Provider
}

func (s *server) Handshake(
	context.Context, *pulumirpc.ProviderHandshakeRequest,
) (*pulumirpc.ProviderHandshakeResponse, error) {
	return &pulumirpc.ProviderHandshakeResponse{AcceptSecrets: s.provider.AcceptsSecrets}, nil
}

func (s *server) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: s.provider.Version}, nil
}

func (s *server) Attach(context.Context, *pulumirpc.PluginAttach) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (s *server) GetSchema(context.Context, *pulumirpc.GetSchemaRequest) (*pulumirpc.GetSchemaResponse, error) {
	return nil, status.Errorf(codes.Unimplemented, "the stand-in %s provider has no schema", s.provider.Name)
}

func (s *server) CheckConfig(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	var failures []*pulumirpc.CheckFailure
	for key := range req.GetNews().GetFields() {
		if key != "version" && !slices.Contains(s.provider.Config, key) {
			failures = append(failures, &pulumirpc.CheckFailure{
				Property: key,
				Reason:   fmt.Sprintf("the stand-in %s provider has no setting %q", s.provider.Name, key),
			})
		}
	}
	return &pulumirpc.CheckResponse{Inputs: req.GetNews(), Failures: failures}, nil
}

func (s *server) DiffConfig(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	olds, err := unmarshal(req.GetOldInputs())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	return diffResponse(changedKeys(olds, news), nil, false), nil
}

func (s *server) Configure(ctx context.Context, req *pulumirpc.ConfigureRequest) (*pulumirpc.ConfigureResponse, error) {
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	config := map[string]string{}
	for key, value := range args {
		if !value.IsString() {
			return nil, fmt.Errorf("configuring the %s provider: the setting %s is not a string", s.provider.Name, key)
		}
		config[string(key)] = value.StringValue()
	}
	if err := s.provider.Configure(ctx, config); err != nil {
		return nil, fmt.Errorf("configuring the %s provider: %w", s.provider.Name, err)
	}
	return &pulumirpc.ConfigureResponse{SupportsPreview: true, AcceptSecrets: s.provider.AcceptsSecrets}, nil
}

func (s *server) Invoke(ctx context.Context, req *pulumirpc.InvokeRequest) (*pulumirpc.InvokeResponse, error) {
	function, known := s.provider.Functions[req.GetTok()]
	if !known {
		return nil, status.Errorf(codes.Unimplemented, "the stand-in %s provider has no function %s", s.provider.Name, req.GetTok())
	}
	args, err := unmarshal(req.GetArgs())
	if err != nil {
		return nil, err
	}
	result, err := function(ctx, args)
	if err != nil {
		return nil, fmt.Errorf("invoking %s: %w", req.GetTok(), err)
	}
	ret, err := marshal(result)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.InvokeResponse{Return: ret}, nil
}

func (s *server) row(urn resource.URN) (Resource, error) {
	row, known := s.provider.Resources[urn.Type().String()]
	if !known {
		return Resource{}, status.Errorf(codes.Unimplemented, "the stand-in %s provider has no resource %s", s.provider.Name, urn.Type())
	}
	return row, nil
}

func (s *server) Check(_ context.Context, req *pulumirpc.CheckRequest) (*pulumirpc.CheckResponse, error) {
	urn := resource.URN(req.GetUrn())
	row, err := s.row(urn)
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	var failures []*pulumirpc.CheckFailure
	fail := func(property, format string, args ...any) {
		failures = append(failures, &pulumirpc.CheckFailure{Property: property, Reason: fmt.Sprintf(format, args...)})
	}
	for key := range inputs {
		if !strings.HasPrefix(string(key), "__") && !slices.Contains(row.Inputs, string(key)) {
			fail(string(key), "the stand-in for %s knows no property %q", urn.Type(), key)
		}
	}
	for _, key := range row.Required {
		if _, set := inputs[resource.PropertyKey(key)]; !set {
			fail(key, "missing required property %q", key)
		}
	}
	if len(failures) == 0 && row.Check != nil {
		olds, err := unmarshal(req.GetOlds())
		if err != nil {
			return nil, err
		}
		// A generated value is kept for as long as the resource lives.
		if name, generated := olds["__generated"]; generated {
			key := resource.PropertyKey(name.StringValue())
			if _, set := inputs[key]; !set {
				inputs[key], inputs["__generated"] = olds[key], name
			}
		}
		if inputs, err = row.Check(urn, inputs); err != nil {
			fail("", "%v", err)
		}
	}
	checked, err := s.marshalKept(inputs, req.GetNews())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.CheckResponse{Inputs: checked, Failures: failures}, nil
}

// marshalKept keeps secret what was a secret in what the engine has sent.
func (s *server) marshalKept(properties resource.PropertyMap, sent *structpb.Struct) (*structpb.Struct, error) {
	if !s.provider.AcceptsSecrets {
		return marshal(properties)
	}
	marked, err := plugin.UnmarshalProperties(sent, plugin.MarshalOptions{KeepUnknowns: true, KeepSecrets: true, SkipNulls: true})
	if err != nil {
		return nil, err
	}
	kept := properties.Copy()
	for key, value := range marked {
		if now, set := kept[key]; set && value.ContainsSecrets() && !now.ContainsSecrets() {
			kept[key] = resource.MakeSecret(now)
		}
	}
	return marshal(kept)
}

func (s *server) Diff(_ context.Context, req *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	row, err := s.row(resource.URN(req.GetUrn()))
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	news, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	changed := slices.DeleteFunc(row.Changed(state, news), func(key string) bool {
		return slices.Contains(req.GetIgnoreChanges(), key)
	})
	replace := row.Replace
	if row.ReplaceFor != nil {
		replace = append(slices.Clone(replace), row.ReplaceFor(state, news)...)
	}
	replaces := slices.DeleteFunc(slices.Clone(changed), func(key string) bool {
		return row.Update != nil && !slices.Contains(replace, key)
	})
	return diffResponse(changed, replaces, row.DeleteBeforeReplace), nil
}

func (s *server) Create(ctx context.Context, req *pulumirpc.CreateRequest) (*pulumirpc.CreateResponse, error) {
	row, err := s.row(resource.URN(req.GetUrn()))
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	if req.GetPreview() {
		return &pulumirpc.CreateResponse{Properties: req.GetProperties()}, nil
	}
	id, outputs, err := row.Create(ctx, inputs)
	if err != nil {
		return nil, s.failure(err, id, outputs, inputs)
	}
	if outputs == nil {
		if outputs, err = row.stands(ctx, id, inputs); err != nil {
			return nil, s.failure(err, id, nil, inputs)
		}
	}
	properties, err := s.marshalKept(withInputs(outputs, inputs), req.GetProperties())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.CreateResponse{Id: id, Properties: properties}, nil
}

func (s *server) Read(ctx context.Context, req *pulumirpc.ReadRequest) (*pulumirpc.ReadResponse, error) {
	row, err := s.row(resource.URN(req.GetUrn()))
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	oldInputs, err := unmarshal(req.GetInputs())
	if err != nil {
		return nil, err
	}
	live, err := row.live(ctx, req.GetId(), state)
	if err != nil {
		return nil, err
	}
	if live == nil {
		return &pulumirpc.ReadResponse{}, nil
	}
	inputs := row.read(oldInputs, live)
	properties, err := marshal(live)
	if err != nil {
		return nil, err
	}
	marshalledInputs, err := marshal(inputs)
	if err != nil {
		return nil, err
	}
	return &pulumirpc.ReadResponse{Id: req.GetId(), Properties: properties, Inputs: marshalledInputs}, nil
}

func (s *server) Update(ctx context.Context, req *pulumirpc.UpdateRequest) (*pulumirpc.UpdateResponse, error) {
	row, err := s.row(resource.URN(req.GetUrn()))
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetOlds())
	if err != nil {
		return nil, err
	}
	inputs, err := unmarshal(req.GetNews())
	if err != nil {
		return nil, err
	}
	if s.provider.Bridged {
		for _, ignored := range req.GetIgnoreChanges() {
			key := resource.PropertyKey(ignored)
			if delete(inputs, key); state.HasValue(key) {
				inputs[key] = state[key]
			}
		}
	}
	planned := row.planned(state, inputs)
	if req.GetPreview() {
		for _, output := range row.renewed(row.Changed(state, inputs)) {
			planned[resource.PropertyKey(output)] = resource.MakeComputed(resource.NewProperty(""))
		}
	} else {
		outputs, err := row.Update(ctx, req.GetId(), state.Copy(), inputs)
		switch {
		case err != nil:
		case outputs == nil:
			var live resource.PropertyMap
			if live, err = row.stands(ctx, req.GetId(), planned); err == nil {
				planned = live
			}
		default:
			planned = row.planned(outputs, inputs)
		}
		if err != nil && row.Framework {
			return nil, err
		}
		if err != nil {
			for _, output := range row.renewed(row.Changed(state, inputs)) { // the plugin SDK keeps nothing that was unknown
				delete(planned, resource.PropertyKey(output))
			}
			return nil, s.failure(err, req.GetId(), planned, inputs)
		}
	}
	properties, err := s.marshalKept(planned, req.GetNews())
	if err != nil {
		return nil, err
	}
	return &pulumirpc.UpdateResponse{Properties: properties}, nil
}

// failure is the error of a resource that is there, as the provider tells it.
func (s *server) failure(err error, id string, state, inputs resource.PropertyMap) error {
	if !s.provider.Bridged || id == "" {
		return err
	}
	properties, marshalErr := marshal(withInputs(state, inputs))
	marshalledInputs, inputsErr := marshal(inputs)
	if failure := errors.Join(marshalErr, inputsErr); failure != nil {
		return errors.Join(err, failure)
	}
	return rpcerror.WithDetails(rpcerror.New(codes.Unknown, err.Error()), &pulumirpc.ErrorResourceInitFailed{
		Id: id, Properties: properties, Inputs: marshalledInputs, Reasons: []string{err.Error()},
	})
}

func (s *server) Delete(ctx context.Context, req *pulumirpc.DeleteRequest) (*emptypb.Empty, error) {
	row, err := s.row(resource.URN(req.GetUrn()))
	if err != nil {
		return nil, err
	}
	state, err := unmarshal(req.GetProperties())
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, row.Delete(ctx, req.GetId(), state)
}

// GeneratedName completes inputs[property] with the resource's name and a random
// suffix, as providers name what a program leaves unnamed.
func GeneratedName(property string, maxLength int) func(resource.URN, resource.PropertyMap) (resource.PropertyMap, error) {
	return func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
		key := resource.PropertyKey(property)
		if _, set := inputs[key]; set {
			return inputs, nil
		}
		name, err := resource.NewUniqueHex(urn.Name()+"-", 7, maxLength)
		if err != nil {
			return nil, fmt.Errorf("naming %s: %w", urn.Name(), err)
		}
		inputs[key] = resource.NewProperty(name)
		inputs["__generated"] = resource.NewProperty(property)
		return inputs, nil
	}
}

// planned is what the state becomes when the inputs have arrived.
func (r Resource) planned(state, inputs resource.PropertyMap) resource.PropertyMap {
	planned := state.Copy()
	for _, name := range r.Inputs {
		if !slices.Contains(r.Computed, name) {
			delete(planned, resource.PropertyKey(name))
		}
	}
	for key, value := range inputs {
		planned[key] = value
	}
	return planned
}

// live are the resource's properties as the service and, where the provider does not read them, the state have them.
func (r Resource) live(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
	live, err := r.Read(ctx, id, state)
	if err != nil || live == nil {
		return nil, err
	}
	live = live.Copy()
	for _, name := range r.Unread {
		key := resource.PropertyKey(name)
		if kept, set := state[key]; set {
			live[key] = kept
		}
	}
	for _, name := range r.Kept {
		key := resource.PropertyKey(name)
		if kept, set := state[key]; set && r.Same[name](kept, live[key]) {
			live[key] = kept
		}
	}
	return live, nil
}

// stands is live of a resource that was just written.
func (r Resource) stands(ctx context.Context, id string, planned resource.PropertyMap) (resource.PropertyMap, error) {
	live, err := r.live(ctx, id, planned)
	if err == nil && live == nil {
		err = fmt.Errorf("reading %s: couldn't find resource", id)
	}
	return live, err
}

func withInputs(outputs, inputs resource.PropertyMap) resource.PropertyMap {
	all := outputs.Copy()
	for key, value := range inputs {
		if _, set := all[key]; !set {
			all[key] = value
		}
	}
	return all
}

func changedKeys(olds, news resource.PropertyMap) []string {
	var changed []string
	for key, value := range news {
		if old, set := olds[key]; !set || !old.DeepEquals(value) {
			changed = append(changed, string(key))
		}
	}
	for key := range olds {
		if _, set := news[key]; !set {
			changed = append(changed, string(key))
		}
	}
	sort.Strings(changed)
	return changed
}

func diffResponse(changed, replaces []string, deleteFirst bool) *pulumirpc.DiffResponse {
	changes := pulumirpc.DiffResponse_DIFF_NONE
	if len(changed) > 0 {
		changes = pulumirpc.DiffResponse_DIFF_SOME
	}
	return &pulumirpc.DiffResponse{
		Changes: changes, Diffs: changed, Replaces: replaces, DeleteBeforeReplace: deleteFirst && len(replaces) > 0,
	}
}

func unmarshal(properties *structpb.Struct) (resource.PropertyMap, error) {
	return plugin.UnmarshalProperties(properties, plugin.MarshalOptions{
		KeepUnknowns: true, SkipNulls: true, ComputeAssetHashes: true,
	})
}

func marshal(properties resource.PropertyMap) (*structpb.Struct, error) {
	return plugin.MarshalProperties(properties, plugin.MarshalOptions{
		KeepUnknowns: true, KeepSecrets: true, SkipNulls: true, ComputeAssetHashes: true,
	})
}
