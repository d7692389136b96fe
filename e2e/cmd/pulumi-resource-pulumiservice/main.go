// Command pulumi-resource-pulumiservice stands in for version 1.3.0 of Pulumi's
// provider for Pulumi Cloud, as far as this project's program uses it: ESC
// environments, teams' permissions on them, rotation schedules and webhooks. It behaves like the real one also where that
// is unfriendly: an environment comes to be in three calls, an update sends the
// whole document without an etag, and a failed read means "not there". What it
// does not know it refuses by name.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

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
		// Environments are secret as a whole, which their rows see to.
		AcceptsSecrets: true,
		Resources: map[string]provider.Resource{
			"pulumiservice:index:Environment": {
				Inputs:              []string{"organization", "project", "name", "yaml"},
				Required:            []string{"organization", "project", "name", "yaml"},
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
				Check:               checkTeamPermission,
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
			"pulumiservice:index:Webhook": s.webhook(),
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
	http  http.Client // for what the ESC client has no call for
}

// configure follows config.Config of the provider: its token is also that of the CLI's login, and a request that takes
// longer than a minute has failed (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/config/config.go).
func (s *service) configure(_ context.Context, config map[string]string) error {
	apiURL := firstOf(config["apiUrl"], os.Getenv("PULUMI_BACKEND_URL"), os.Getenv("PULUMI_API"), "https://api.pulumi.com")
	if parsed, err := url.Parse(apiURL); err != nil || parsed.Host == "" {
		return fmt.Errorf("apiUrl %q is not the URL of an API", apiURL)
	}
	s.token = firstOf(config["accessToken"], os.Getenv("PULUMI_ACCESS_TOKEN"))
	if s.token == "" {
		if stored, err := workspace.GetStoredCredentials(); err == nil {
			s.token = stored.AccessTokens[stored.Current]
		}
	}
	if s.token == "" {
		return errors.New("pulumi access token not found")
	}
	s.http.Timeout = time.Minute
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
	return environment{text(properties, "organization"), firstOf(text(properties, "project"), defaultProject), text(properties, "name")}
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

// checkEnvironment makes the document a secret string without the space around it, whatever the program gives. One that is
// not known yet is empty (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/environment.go).
func checkEnvironment(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	for _, key := range []resource.PropertyKey{"organization", "project", "name"} {
		if value := inputs[key]; value.IsString() && strings.Contains(value.StringValue(), "/") {
			return nil, fmt.Errorf("'%s' property contains `/` illegal character", key)
		}
	}
	document := ""
	switch yaml := inputs["yaml"]; {
	case yaml.IsAsset():
		content, err := yaml.AssetValue().Bytes()
		if err != nil {
			return nil, fmt.Errorf("reading environment yaml: %w", err)
		}
		document = string(content)
	case yaml.IsString():
		document = yaml.StringValue()
	}
	inputs["yaml"] = secretDocument([]byte(document))
	return inputs, nil
}

// secretDocument is a document as inputs and outputs hold it.
func secretDocument(yaml []byte) resource.PropertyValue {
	return resource.MakeSecret(resource.NewProperty(strings.TrimSpace(string(yaml))))
}

func (s *service) createEnvironment(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	env, yaml := environmentOf(inputs), []byte(text(inputs, "yaml"))
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
	revision, err := s.push(ctx, env, yaml)
	if err != nil {
		return "", nil, err
	}
	outputs, err := s.outputs(ctx, env, yaml, revision)
	return env.id(), outputs, err
}

// updateEnvironment drops the error of a write, and then says that it is done, with the revision 0.
func (s *service) updateEnvironment(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	env, yaml := environmentOf(inputs), []byte(text(inputs, "yaml"))
	revision, err := s.push(ctx, env, yaml)
	if errors.Is(err, errRefused) {
		return nil, err
	}
	return s.outputs(ctx, env, yaml, revision)
}

// errRefused is that a document did not pass the check.
var errRefused = errors.New("yaml code failed following checks")

// push writes the whole document, whatever stands there. What the check has found fails it, a warning too, where it comes
// with a refusal; beside a revision it is not looked at
// (https://github.com/pulumi/esc/blob/v0.23.0/cmd/esc/cli/client/client.go).
func (s *service) push(ctx context.Context, env environment, yaml []byte) (revision int, err error) {
	diagnostics, revision, err := s.UpdateEnvironment(ctx, env.organization, env.project, env.name, yaml, "")
	switch {
	case err != nil:
		return 0, fmt.Errorf("failed to push yaml into environment due to error: %w", err)
	case diagnostics != nil && revision == 0:
		return 0, fmt.Errorf("failed to update environment, %w: %+v", errRefused, diagnostics)
	}
	return revision, nil
}

func (s *service) outputs(ctx context.Context, env environment, yaml []byte, revision int) (resource.PropertyMap, error) {
	id, err := s.environmentID(ctx, env)
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("failed to resolve environment's id: %w", err)
	}
	return env.properties(yaml, revision, id), nil
}

func (e environment) properties(yaml []byte, revision int, id string) resource.PropertyMap {
	properties := resource.PropertyMap{
		"organization": resource.NewProperty(e.organization),
		"project":      resource.NewProperty(e.project),
		"name":         resource.NewProperty(e.name),
		"yaml":         secretDocument(yaml),
		"revision":     resource.NewProperty(float64(revision)),
	}
	if id != "" {
		properties["environmentId"] = resource.NewProperty(id)
	}
	return properties
}

// readEnvironment answers any failure as "not there".
func (s *service) readEnvironment(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
	env, err := parseID(id)
	if err != nil {
		return nil, err
	}
	yaml, _, revision, err := s.GetEnvironment(ctx, env.organization, env.project, env.name, "", false)
	if err != nil {
		return nil, nil //nolint:nilerr // the real provider takes any failure for "not there"
	}
	uuid, err := s.environmentID(ctx, env)
	if err != nil {
		uuid = ""
	}
	return env.properties(yaml, revision, uuid), nil
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
	case isNotFound(err):
		return nil, fmt.Errorf("environment %s not found", env.id())
	case err != nil:
		return nil, fmt.Errorf("failed to look up environment %[1]s: failed to get environment metadata for %[1]s: %[2]w", env.id(), err)
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
