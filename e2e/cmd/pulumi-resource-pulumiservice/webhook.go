package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

// webhook is what provider/pkg/resources/webhook.go of https://github.com/pulumi/pulumi-pulumiservice/tree/v1.3.0 makes of one,
// for an environment alone: its calls are those of provider/pkg/pulumiapi/webhooks.go.
func (s *service) webhook() provider.Resource {
	return provider.Resource{
		Inputs: []string{"active", "displayName", "payloadUrl", "secret", "organizationName", "projectName", "environmentName", "stackName",
			"format", "filters", "groups"},
		Required: []string{"active", "displayName", "payloadUrl", "organizationName"},
		Replace:  []string{"organizationName", "projectName", "environmentName", "stackName"},
		Check:    checkWebhook,
		Create:   s.createWebhook,
		Read:     s.readWebhook,
		Update:   s.updateWebhook,
		Delete:   s.deleteWebhook,
	}
}

// sentWebhook is a webhook as the API takes and gives it. The real client takes no secret from an answer.
type sentWebhook struct {
	OrganizationName string   `json:"organizationName"`
	ProjectName      string   `json:"projectName,omitempty"`
	EnvironmentName  string   `json:"envName,omitempty"`
	Name             string   `json:"name,omitempty"`
	DisplayName      string   `json:"displayName"`
	PayloadURL       string   `json:"payloadUrl"`
	Secret           string   `json:"secret,omitempty"`
	Active           bool     `json:"active"`
	Format           string   `json:"format,omitempty"`
	Filters          []string `json:"filters,omitempty"`
	Groups           []string `json:"groups,omitempty"`
}

func checkWebhook(_ resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	_, project := inputs["projectName"]
	_, environment := inputs["environmentName"]
	switch _, stack := inputs["stackName"]; {
	case stack || !environment:
		return nil, errors.New("this stand-in knows webhooks of environments alone")
	case !project:
		return nil, errors.New("projectName and environmentName must both be specified for environment webhooks")
	}
	if _, set := inputs["format"]; !set {
		inputs["format"] = resource.NewProperty("raw")
	}
	if len(list(inputs, "filters")) == 0 && len(list(inputs, "groups")) == 0 {
		inputs["groups"] = resource.NewProperty([]resource.PropertyValue{resource.NewProperty("environments")})
	}
	return inputs, nil
}

// list is a property that is a list of strings.
func list(properties resource.PropertyMap, key resource.PropertyKey) []string {
	var texts []string
	if value := properties[key]; value.IsArray() {
		for _, item := range value.ArrayValue() {
			texts = append(texts, item.StringValue())
		}
	}
	return texts
}

func listProperty(texts []string) resource.PropertyValue {
	var items []resource.PropertyValue
	for _, text := range texts {
		items = append(items, resource.NewProperty(text))
	}
	return resource.NewProperty(items)
}

func webhookOf(inputs resource.PropertyMap) sentWebhook {
	return sentWebhook{
		OrganizationName: text(inputs, "organizationName"), ProjectName: text(inputs, "projectName"), EnvironmentName: text(inputs, "environmentName"),
		DisplayName: text(inputs, "displayName"), PayloadURL: text(inputs, "payloadUrl"), Secret: text(inputs, "secret"),
		Active: inputs["active"].IsBool() && inputs["active"].BoolValue(), Format: text(inputs, "format"),
		Filters: list(inputs, "filters"), Groups: list(inputs, "groups"),
	}
}

func webhookPath(hook sentWebhook, further ...string) []string {
	return append([]string{"api/esc/environments", hook.OrganizationName, hook.ProjectName, hook.EnvironmentName, "hooks"}, further...)
}

// webhookID is that of an environment's webhook, and splitWebhookID takes it apart.
func webhookID(hook sentWebhook) string {
	return strings.Join([]string{hook.OrganizationName, "environment", hook.ProjectName, hook.EnvironmentName, hook.Name}, "/")
}

func splitWebhookID(id string) (sentWebhook, error) {
	parts := strings.Split(id, "/")
	if len(parts) != 5 {
		return sentWebhook{}, fmt.Errorf("%q is not a valid webhook ID", id)
	}
	return sentWebhook{OrganizationName: parts[0], ProjectName: parts[2], EnvironmentName: parts[3], Name: parts[4]}, nil
}

func (s *service) createWebhook(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
	hook := webhookOf(inputs)
	var created sentWebhook
	if err := s.call(ctx, http.MethodPost, hook, &created, webhookPath(hook)...); err != nil {
		return "", nil, fmt.Errorf("error creating webhook %q: failed to create webhook: %w", hook.DisplayName, err)
	}
	hook.Name = created.Name
	outputs := inputs.Copy()
	outputs["name"] = resource.NewProperty(created.Name)
	return webhookID(hook), outputs, nil
}

func (s *service) updateWebhook(ctx context.Context, _ string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
	hook := webhookOf(inputs)
	hook.Name = text(state, "name")
	if err := s.call(ctx, http.MethodPatch, hook, &sentWebhook{}, webhookPath(hook, hook.Name)...); err != nil {
		return nil, fmt.Errorf("error updating webhook %q: failed to update webhook: %w", hook.Name, err)
	}
	outputs := inputs.Copy()
	outputs["name"] = state["name"]
	return outputs, nil
}

// readWebhook marks nothing as a secret, and keeps the secret that the service does not tell.
func (s *service) readWebhook(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
	of, err := splitWebhookID(id)
	if err != nil {
		return nil, err
	}
	var found sentWebhook
	err = s.call(ctx, http.MethodGet, nil, &found, webhookPath(of, of.Name)...)
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("failed to read webhook %q: failed to get webhook: %w", id, err)
	}
	live := resource.PropertyMap{
		"active": resource.NewProperty(found.Active), "displayName": resource.NewProperty(found.DisplayName),
		"payloadUrl": resource.NewProperty(found.PayloadURL), "format": resource.NewProperty(found.Format), "name": resource.NewProperty(found.Name),
		"organizationName": resource.NewProperty(of.OrganizationName), "projectName": resource.NewProperty(of.ProjectName),
		"environmentName": resource.NewProperty(of.EnvironmentName),
	}
	for key, texts := range map[resource.PropertyKey][]string{"filters": found.Filters, "groups": found.Groups} {
		if len(texts) > 0 {
			live[key] = listProperty(texts)
		}
	}
	if secret, set := state["secret"]; set {
		live["secret"] = secret
	}
	return live, nil
}

func (s *service) deleteWebhook(ctx context.Context, id string, _ resource.PropertyMap) error {
	of, err := splitWebhookID(id)
	if err != nil {
		return err
	}
	if err := s.call(ctx, http.MethodDelete, nil, nil, webhookPath(of, of.Name)...); err != nil {
		return fmt.Errorf("failed to delete webhook: %w", err)
	}
	return nil
}
