package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// apiError is an answer that is no success, in the provider's words
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/pulumiapi/error.go).
type apiError struct {
	StatusCode int    `json:"code"`
	Message    string `json:"message"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%d API error: %s", e.StatusCode, e.Message) }

func isNotFound(err error) bool {
	var answered *apiError
	return errors.As(err, &answered) && answered.StatusCode == http.StatusNotFound
}

// call is one request to the REST API of Pulumi Cloud. Its failures are errors,
// unlike those of reading an environment.
func (s *service) call(ctx context.Context, method string, request, response any, path ...string) error {
	address, err := url.JoinPath(s.URL(), path...)
	if err != nil {
		return err
	}
	var body io.Reader
	if request != nil {
		text, err := json.Marshal(request)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	sent, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return err
	}
	sent.Header.Set("Authorization", "token "+s.token)
	sent.Header.Set("Content-Type", "application/json")
	answered, err := s.http.Do(sent)
	if err != nil {
		return fmt.Errorf("failed to create request: %w", err)
	}
	text, err := io.ReadAll(answered.Body)
	if err := errors.Join(err, answered.Body.Close()); err != nil {
		return fmt.Errorf("failed to read response body: %w", err)
	}
	switch {
	case answered.StatusCode >= 300:
		failure := apiError{}
		if json.Unmarshal(text, &failure) != nil {
			failure.Message = strings.TrimSpace(string(text))
		}
		if failure.StatusCode == 0 {
			failure.StatusCode = answered.StatusCode
		}
		return &failure
	case response == nil:
		return nil
	}
	if err := json.Unmarshal(text, response); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	return nil
}

// text is a string property.
func text(properties resource.PropertyMap, key resource.PropertyKey) string {
	if value := properties[key]; value.IsString() {
		return value.StringValue()
	}
	return ""
}

// subject is the environment that a permission or a schedule is for.
func subject(properties resource.PropertyMap) environment {
	return environment{text(properties, "organization"), firstOf(text(properties, "project"), defaultProject), text(properties, "environment")}
}

type environmentPermission struct {
	ProjectName string `json:"projectName"`
	EnvName     string `json:"envName"`
	Permission  string `json:"permission,omitempty"`
}

func checkTeamPermission(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	if _, set := inputs["project"]; !set {
		inputs["project"] = resource.NewProperty(defaultProject)
	}
	return inputs, nil
}

func (s *service) createTeamPermission(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	env, team := subject(inputs), text(inputs, "team")
	request := map[string]environmentPermission{"addEnvironmentPermission": {env.project, env.name, text(inputs, "permission")}}
	if err := s.call(ctx, http.MethodPatch, request, nil, "api/orgs", env.organization, "teams", team); err != nil {
		return "", nil, fmt.Errorf("error granting team environment permission: failed to add team settings for environment %s to team %s due to error: %w", env.name, team, err)
	}
	return fmt.Sprintf("%s/%s/%s+%s", env.organization, team, env.project, env.name), inputs, nil
}

func (s *service) readTeamPermission(ctx context.Context, _ string, state resource.PropertyMap) (resource.PropertyMap, error) {
	env := subject(state)
	var team struct{ Environments []environmentPermission }
	if err := s.call(ctx, http.MethodGet, nil, &team, "api/orgs", env.organization, "teams", text(state, "team")); err != nil {
		return nil, fmt.Errorf("failed to get team environment permission: failed to get team environment permission: %w", err)
	}
	for _, granted := range team.Environments {
		if granted.ProjectName == env.project && granted.EnvName == env.name {
			live := state.Copy()
			live["permission"] = resource.NewProperty(granted.Permission)
			return live, nil
		}
	}
	return nil, nil
}

func (s *service) deleteTeamPermission(ctx context.Context, _ string, state resource.PropertyMap) error {
	env, team := subject(state), text(state, "team")
	request := map[string]environmentPermission{"removeEnvironment": {ProjectName: env.project, EnvName: env.name}}
	if err := s.call(ctx, http.MethodPatch, request, nil, "api/orgs", env.organization, "teams", team); err != nil {
		return fmt.Errorf("failed to remove permissions for environment %s from team %s due to error: %w", env.name, team, err)
	}
	return nil
}

// schedule is a rotation schedule as the API sends and takes it.
type schedule struct {
	ID                    string   `json:"id,omitempty"`
	ScheduleCron          string   `json:"scheduleCron"`
	SecretRotationRequest struct{} `json:"secretRotationRequest"`
}

func schedulePath(env environment, id ...string) []string {
	return append([]string{"api/esc/environments", env.organization, env.project, env.name, "schedules"}, id...)
}

func (s *service) createSchedule(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	env := subject(inputs)
	var created schedule
	if err := s.call(ctx, http.MethodPost, schedule{ScheduleCron: text(inputs, "scheduleCron")}, &created, schedulePath(env)...); err != nil {
		return "", nil, fmt.Errorf("error creating environment rotation schedule: failed to create environment rotation schedule (scheduleCron=%s, scheduleOnce=<nil>): %w",
			text(inputs, "scheduleCron"), err)
	}
	outputs := inputs.Copy()
	outputs["scheduleId"] = resource.NewProperty(created.ID)
	return strings.Join([]string{env.id(), "rotations", created.ID}, "/"), outputs, nil
}

// readSchedule knows the schedule by its id alone, as an import names it
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/rotation_schedules.go).
func (s *service) readSchedule(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
	parts := strings.Split(id, "/")
	if len(parts) != 5 || parts[3] != "rotations" {
		return nil, fmt.Errorf("invalid schedule id: %s", id)
	}
	env, scheduleID := environment{parts[0], parts[1], parts[2]}, parts[4]
	var found schedule
	err := s.call(ctx, http.MethodGet, nil, &found, schedulePath(env, scheduleID)...)
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("failed to read EnvironmentRotationSchedule (%q): failed to get environment schedule with scheduleId %s : %w", id, scheduleID, err)
	}
	return resource.PropertyMap{
		"organization": resource.NewProperty(env.organization), "project": resource.NewProperty(env.project),
		"environment": resource.NewProperty(env.name), "scheduleCron": resource.NewProperty(found.ScheduleCron),
		"scheduleId": resource.NewProperty(scheduleID),
	}, nil
}

func (s *service) updateSchedule(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	var updated schedule
	err := s.call(ctx, http.MethodPost, schedule{ScheduleCron: text(inputs, "scheduleCron")}, &updated,
		schedulePath(subject(inputs), text(state, "scheduleId"))...)
	if err != nil {
		return nil, fmt.Errorf("error updating environment rotation schedule: failed to update environment schedule %s: %w", text(state, "scheduleId"), err)
	}
	state["scheduleId"] = resource.NewProperty(updated.ID)
	return state, nil
}

func (s *service) deleteSchedule(ctx context.Context, _ string, state resource.PropertyMap) error {
	err := s.call(ctx, http.MethodDelete, nil, nil, schedulePath(subject(state), text(state, "scheduleId"))...)
	if err != nil {
		return fmt.Errorf("failed to delete environment schedule with scheduleId %s : %w", text(state, "scheduleId"), err)
	}
	return nil
}
