// Command pulumi-resource-pulumiservice stands in for version 1.3.0 of Pulumi's
// provider for Pulumi Cloud, as far as this project's program uses it: ESC
// environments, teams' permissions on them and rotation schedules. It behaves like the real one also where that
// is unfriendly: an environment comes to be in three calls, an update sends the
// whole document without an etag, and a failed read means "not there". What it
// does not know it refuses by name.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"

	"esc-connector-lambda-go/e2e/provider"
)

const defaultProject = "default"

func main() { provider.Main(standIn()) }

// standIn is the table of what this provider knows.
func standIn() provider.Provider {
	s := &service{}
	return provider.Provider{
		Name:      "pulumiservice",
		Version:   "1.3.0",
		Config:    []string{"accessToken", "apiUrl"},
		Configure: s.configure,
		Resources: map[string]provider.Resource{
			"pulumiservice:index:Environment": {
				Inputs:              []string{"organization", "project", "name", "yaml"},
				Required:            []string{"organization", "name", "yaml"},
				Replace:             []string{"organization", "project", "name"},
				DeleteBeforeReplace: true,
				Check:               checkEnvironment,
				Create:              s.createEnvironment,
				Read:                s.readEnvironment,
				Update:              s.updateEnvironment,
				Delete:              s.deleteEnvironment,
			},
			"pulumiservice:index:TeamEnvironmentPermission": {
				Inputs:              []string{"organization", "project", "environment", "team", "permission"},
				Required:            []string{"organization", "environment", "team", "permission"},
				Replace:             []string{"organization", "project", "environment", "team", "permission"},
				DeleteBeforeReplace: true,
				Check:               checkEnvironment,
				Create:              s.createTeamPermission,
				Read:                s.readTeamPermission,
				Delete:              s.deleteTeamPermission,
			},
			"pulumiservice:index:EnvironmentRotationSchedule": {
				Inputs:   []string{"organization", "project", "environment", "scheduleCron"},
				Required: []string{"organization", "project", "environment", "scheduleCron"},
				Replace:  []string{"organization", "project", "environment"},
				Create:   s.createSchedule,
				Read:     s.readSchedule,
				Update:   s.updateSchedule,
				Delete:   s.deleteSchedule,
			},
		},
		Functions: map[string]provider.Function{
			"pulumiservice:index:getEnvironment": s.getEnvironment,
		},
	}
}

// service is Pulumi Cloud, as the configuration names it.
type service struct {
	client.Client
	token string
}

func (s *service) configure(_ context.Context, config map[string]string) error {
	apiURL := firstOf(config["apiUrl"], os.Getenv("PULUMI_BACKEND_URL"), os.Getenv("PULUMI_API"), "https://api.pulumi.com")
	if parsed, err := url.Parse(apiURL); err != nil || parsed.Host == "" {
		return fmt.Errorf("apiUrl %q is not the URL of an API", apiURL)
	}
	s.token = firstOf(config["accessToken"], os.Getenv("PULUMI_ACCESS_TOKEN"))
	if s.token == "" {
		return errors.New("no access token: set PULUMI_ACCESS_TOKEN, or the provider's accessToken")
	}
	s.Client = client.New("pulumi-resource-pulumiservice/1.3.0", apiURL, s.token, false)
	return nil
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// environment is what names one environment.
type environment struct{ organization, project, name string }

func environmentOf(properties resource.PropertyMap) environment {
	text := func(key resource.PropertyKey) string {
		if value := properties[key]; value.IsString() {
			return value.StringValue()
		}
		return ""
	}
	return environment{text("organization"), firstOf(text("project"), defaultProject), text("name")}
}

func (e environment) id() string { return e.organization + "/" + e.project + "/" + e.name }

// parseID reads an id, also the form without a project from before there were projects.
func parseID(id string) (environment, error) {
	switch parts := strings.Split(id, "/"); len(parts) {
	case 3:
		return environment{parts[0], parts[1], parts[2]}, nil
	case 2:
		return environment{parts[0], defaultProject, parts[1]}, nil
	default:
		return environment{}, fmt.Errorf("invalid environment id %q: want ORGANIZATION/PROJECT/ENVIRONMENT", id)
	}
}

func checkEnvironment(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	if _, set := inputs["project"]; !set {
		inputs["project"] = resource.NewProperty(defaultProject)
	}
	for _, key := range []resource.PropertyKey{"organization", "project", "name"} {
		if value := inputs[key]; value.IsString() && strings.Contains(value.StringValue(), "/") {
			return nil, fmt.Errorf("'%s' property contains `/` illegal character", key)
		}
	}
	return inputs, nil
}

// document reads the yaml input. Surrounding space is not sent.
func document(inputs resource.PropertyMap) ([]byte, error) {
	yaml := inputs["yaml"]
	if !yaml.IsAsset() {
		return nil, errors.New("reading environment yaml: yaml must be an asset")
	}
	reader, err := yaml.AssetValue().Read()
	if err != nil {
		return nil, fmt.Errorf("reading environment yaml: %w", err)
	}
	text, err := io.ReadAll(reader)
	if err := errors.Join(err, reader.Close()); err != nil {
		return nil, fmt.Errorf("reading environment yaml: %w", err)
	}
	return []byte(strings.TrimSpace(string(text))), nil
}

func (s *service) createEnvironment(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	env := environmentOf(inputs)
	yaml, err := document(inputs)
	if err != nil {
		return "", nil, err
	}
	_, diagnostics, err := s.CheckYAMLEnvironment(ctx, env.organization, yaml)
	switch {
	case diagnostics != nil:
		return "", nil, fmt.Errorf("failed to check environment, yaml code failed following checks: %+v", diagnostics)
	case err != nil:
		return "", nil, fmt.Errorf("failed to check environment due to error: %w", err)
	}
	if err := s.CreateEnvironment(ctx, env.organization, env.project, env.name); err != nil {
		return "", nil, fmt.Errorf("failed to create new environment due to error: %w", err)
	}
	outputs, err := s.push(ctx, env, yaml)
	return env.id(), outputs, err
}

func (s *service) updateEnvironment(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	yaml, err := document(inputs)
	if err != nil {
		return nil, err
	}
	outputs, err := s.push(ctx, environmentOf(inputs), yaml)
	if err != nil {
		return nil, err
	}
	for key, value := range outputs {
		state[key] = value
	}
	return state, nil
}

// push writes the whole document, whatever stands there.
func (s *service) push(ctx context.Context, env environment, yaml []byte) (resource.PropertyMap, error) {
	diagnostics, revision, err := s.UpdateEnvironment(ctx, env.organization, env.project, env.name, yaml, "")
	switch {
	case client.DiagnosticsHaveErrors(diagnostics):
		return nil, fmt.Errorf("failed to update environment, yaml code failed following checks: %+v", diagnostics)
	case err != nil:
		return nil, fmt.Errorf("failed to update environment due to error: %w", err)
	}
	id, err := s.environmentID(ctx, env)
	if err != nil {
		return nil, fmt.Errorf("failed to resolve environment's id: %w", err)
	}
	return resource.PropertyMap{
		"project":       resource.NewProperty(env.project),
		"revision":      resource.NewProperty(float64(revision)),
		"environmentId": resource.NewProperty(id),
	}, nil
}

// readEnvironment answers any failure as "not there".
func (s *service) readEnvironment(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
	env, err := parseID(id)
	if err != nil {
		return nil, err
	}
	yaml, revision, found := s.definition(ctx, env)
	if !found {
		return nil, nil
	}
	text, err := asset.FromText(strings.TrimSpace(string(yaml)))
	if err != nil {
		return nil, fmt.Errorf("wrapping the environment's yaml in an asset: %w", err)
	}
	live := resource.PropertyMap{
		"organization": resource.NewProperty(env.organization),
		"project":      resource.NewProperty(env.project),
		"name":         resource.NewProperty(env.name),
		"yaml":         resource.NewProperty(text),
		"revision":     resource.NewProperty(float64(revision)),
	}
	if id, err := s.environmentID(ctx, env); err == nil {
		live["environmentId"] = resource.NewProperty(id)
	}
	return live, nil
}

func (s *service) definition(ctx context.Context, env environment) (yaml []byte, revision int, found bool) {
	yaml, _, revision, err := s.GetEnvironment(ctx, env.organization, env.project, env.name, "", false)
	return yaml, revision, err == nil
}

func (s *service) deleteEnvironment(ctx context.Context, _ string, state resource.PropertyMap) error {
	env := environmentOf(state)
	if err := s.DeleteEnvironment(ctx, env.organization, env.project, env.name); err != nil {
		return fmt.Errorf("failed to delete environment %s: %w", env.id(), err)
	}
	return nil
}

// getEnvironment tells that an environment exists; it does not tell what it holds.
func (s *service) getEnvironment(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	env := environmentOf(resource.PropertyMap{
		"organization": args["organizationName"], "project": args["projectName"], "name": args["name"],
	})
	switch {
	case env.organization == "":
		return nil, errors.New("`organizationName` must not be empty")
	case env.name == "":
		return nil, errors.New("`name` must not be empty")
	}
	id, err := s.environmentID(ctx, env)
	switch {
	case errors.Is(err, errNotFound):
		return nil, fmt.Errorf("environment %s not found", env.id())
	case err != nil:
		return nil, fmt.Errorf("failed to look up environment %s: %w", env.id(), err)
	}
	return resource.PropertyMap{
		"organizationName": resource.NewProperty(env.organization),
		"projectName":      resource.NewProperty(env.project),
		"name":             resource.NewProperty(env.name),
		"environmentId":    resource.NewProperty(id),
	}, nil
}

// environmentID reads the environment's UUID from its metadata, which the ESC
// client has no call for.
func (s *service) environmentID(ctx context.Context, env environment) (string, error) {
	var metadata struct{ ID string }
	err := s.call(ctx, http.MethodGet, nil, &metadata, "api/esc/environments", env.organization, env.project, env.name, "metadata")
	return metadata.ID, err
}
