package environments

import (
	"fmt"
	"strings"

	"esc-connector-lambda-go/lambda/event"

	"github.com/pulumi/pulumi-pulumiservice/sdk/go/pulumiservice"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Webhook is whom Pulumi Cloud tells of each rotation of the rotator environment that failed. Without a URL it is nobody.
type Webhook struct {
	URL    event.Secret // who knows it can write there
	Format string       // raw, slack or ms_teams
}

// writeWebhook registers the webhook. It goes with the stack, even where the environments stay.
func writeWebhook(ctx *pulumi.Context, cloud *pulumiservice.Provider, contents Contents, rotator pulumi.Resource) ([]pulumi.CustomResource, error) {
	if contents.Webhook.URL.Reveal() == "" {
		return nil, nil
	}
	webhook, err := pulumiservice.NewWebhook(ctx, WebhookResource, &pulumiservice.WebhookArgs{
		Active:           pulumi.Bool(true),
		DisplayName:      pulumi.String(fmt.Sprintf("Failed rotations, by the stack %s/%s", ctx.Project(), ctx.Stack())),
		PayloadUrl:       pulumi.ToSecret(pulumi.String(contents.Webhook.URL.Reveal())).(pulumi.StringOutput),
		Format:           pulumiservice.WebhookFormat(contents.Webhook.Format),
		OrganizationName: pulumi.String(contents.Name.Organization),
		ProjectName:      pulumi.String(contents.Name.Project),
		EnvironmentName:  pulumi.String(contents.Name.Environment),
		Filters:          pulumiservice.WebhookFiltersArray{pulumiservice.WebhookFiltersEnvironmentRotationFailed},
		// The provider's read marks no secret (provider/pkg/resources/webhook.go of
		// https://github.com/pulumi/pulumi-pulumiservice/tree/v1.3.0). Of the inputs a refresh takes what the read says.
	}, pulumi.Provider(cloud), pulumi.DependsOn([]pulumi.Resource{rotator}), pulumi.AdditionalSecretOutputs([]string{"payloadUrl"}))
	if err != nil {
		return nil, fmt.Errorf("registering the webhook of %s: %w", contents.Name, err)
	}
	return []pulumi.CustomResource{webhook}, nil
}

// WebhookID is what the provider calls an environment's webhook of that name, which Pulumi Cloud has chosen
// (https://github.com/pulumi/pulumi-pulumiservice/blob/v1.3.0/provider/pkg/resources/webhook.go).
func WebhookID(rotator Name, name string) string {
	return strings.Join([]string{rotator.Organization, "environment", rotator.Project, rotator.Environment, name}, "/")
}
