package esc

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pulumi/pulumi/pkg/v3/cmd/esc/cli/client"

	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
)

// webhook is whom an environment tells of its events, as Pulumi Cloud's API takes and gives it: the schemas Webhook and
// WebhookResponse in provider/pkg/cloud/spec.json of https://github.com/pulumi/pulumi-pulumiservice/tree/v1.3.0.
type webhook struct {
	OrganizationName string   `json:"organizationName"`
	ProjectName      string   `json:"projectName,omitempty"`
	EnvName          string   `json:"envName,omitempty"`
	Name             string   `json:"name"`
	DisplayName      string   `json:"displayName"`
	PayloadURL       string   `json:"payloadUrl"`
	Secret           string   `json:"secret,omitempty"`
	Active           bool     `json:"active"`
	Format           string   `json:"format"`
	Filters          []string `json:"filters"`
	Groups           []string `json:"groups"`
	HasSecret        bool     `json:"hasSecret"`
}

// webhookFormats are those of environments' webhooks, each with how its URLs begin, as
// https://www.pulumi.com/docs/iac/cli/commands/pulumi_env_webhook_new/ tells.
var webhookFormats = map[string][]string{
	"raw":      {"http://", "https://"},
	"ms_teams": {"http://", "https://"},
	"slack":    {"https://hooks.slack.com/"},
}

const rotationFailed = "environment_rotation_failed"

// WebhookDelivery is what a webhook was sent, and whether its listener took it.
type WebhookDelivery struct {
	URL    string
	Header http.Header
	Body   string
	Status int // 0: nobody answered
}

// shown is a webhook as an answer has it: Pulumi Cloud does not give a secret back.
func (w webhook) shown() webhook {
	w.HasSecret, w.Secret = w.Secret != "", ""
	return w
}

// webhooksOf is the environment of a call about webhooks. Who may not write it may not read them either:
// https://www.pulumi.com/docs/administration/reference/rbac-scopes/environments/. s.mu must be held.
func (s *Service) webhooksOf(c call) *environment { return s.find(c, access.WriteEnvironment) }

// readWebhook takes what a call says of a webhook, and answers the call itself where that cannot be.
func readWebhook(c call) (webhook, bool) {
	var request webhook
	if !rest.Decode(c.w, c.r, &request) {
		return request, false
	}
	address, err := url.Parse(request.PayloadURL)
	bad := ""
	switch begins, known := webhookFormats[request.Format]; {
	case request.OrganizationName != c.r.PathValue("org"):
		bad = "Organization name from request body doesn't match URL."
	case !known:
		bad = fmt.Sprintf("invalid webhook format %q", request.Format)
	case request.DisplayName == "":
		bad = "displayName must not be empty"
	case err != nil || address.Host == "" || !slices.ContainsFunc(begins, func(begin string) bool { return strings.HasPrefix(request.PayloadURL, begin) }):
		bad = "invalid payload URL"
	default:
		return request, true
	}
	rest.Fail(c.w, http.StatusBadRequest, "Bad Request: "+bad)
	return request, false
}

func (s *Service) createWebhook(c call) {
	request, ok := readWebhook(c)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	env := s.webhooksOf(c)
	if env == nil {
		return
	}
	if request.Name == "" {
		request.Name = uuid.NewString()[:8]
	}
	if _, there := env.webhooks[request.Name]; there {
		rest.Fail(c.w, http.StatusConflict, "Conflict: Webhook already exists")
		return
	}
	env.webhooks[request.Name] = request
	rest.Answer(c.w, http.StatusCreated, request.shown())
}

// updateWebhook keeps a secret that the call does not name, since nobody can have read it.
func (s *Service) updateWebhook(c call) {
	request, ok := readWebhook(c)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if env, before, there := s.webhook(c); there {
		request.Name = before.Name
		if request.Secret == "" {
			request.Secret = before.Secret
		}
		env.webhooks[before.Name] = request
		rest.Answer(c.w, http.StatusOK, request.shown())
	}
}

// webhook is the one that the call names. s.mu must be held.
func (s *Service) webhook(c call) (env *environment, found webhook, there bool) {
	if env = s.webhooksOf(c); env == nil {
		return nil, found, false
	}
	if found, there = env.webhooks[c.r.PathValue("hook")]; !there {
		rest.Fail(c.w, http.StatusNotFound, fmt.Sprintf("Not Found: Webhook %q not found", c.r.PathValue("hook")))
	}
	return env, found, there
}

func (s *Service) getWebhook(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, found, there := s.webhook(c); there {
		rest.Answer(c.w, http.StatusOK, found.shown())
	}
}

func (s *Service) listWebhooks(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env := s.webhooksOf(c); env != nil {
		listed := []webhook{}
		for _, name := range slices.Sorted(maps.Keys(env.webhooks)) {
			listed = append(listed, env.webhooks[name].shown())
		}
		rest.Answer(c.w, http.StatusOK, listed)
	}
}

func (s *Service) deleteWebhook(c call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env, found, there := s.webhook(c); there {
		delete(env.webhooks, found.Name)
		c.w.WriteHeader(http.StatusNoContent)
	}
}

// DeleteWebhooks deletes the environment's webhooks, as its administrator does in the console.
func (s *Service) DeleteWebhooks(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if env, exists := s.environments[id]; exists {
		clear(env.webhooks)
	}
}

// WebhookURLs are the URLs that the environment's active webhooks for failed rotations send to, each after its format.
func (s *Service) WebhookURLs(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var urls []string
	if env, exists := s.environments[id]; exists {
		for _, hook := range env.webhooks {
			if hook.hears(rotationFailed) {
				urls = append(urls, hook.Format+" "+hook.PayloadURL)
			}
		}
	}
	slices.Sort(urls)
	return urls
}

// Deliveries are what webhooks were sent, the first first.
func (s *Service) Deliveries() []WebhookDelivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// Listen has what webhooks send to a host come to an address on this machine, such as a message for hooks.slack.com.
func (s *Service) Listen(host, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[host] = address
}

// hears reports whether the webhook is for such events. The group environments is all of an environment's.
func (w webhook) hears(event string) bool {
	return w.Active && (slices.Contains(w.Filters, event) || slices.Contains(w.Groups, "environments"))
}

// rotationOf is what a webhook is sent of a rotation: of a webhook's messages https://www.pulumi.com/docs/esc/concepts/webhooks/ tells
// user, organization, projectName and environmentName; what else stands in those about rotations no page tells that we know, and a
// story should not ask for it. Nor do we know that of messages in the other formats, but that Slack takes a text
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/).
func rotationOf(format string, env *environment, user access.User) ([]byte, error) {
	person := map[string]string{"name": user.Name, "githubLogin": user.Name, "avatarUrl": ""}
	organization := map[string]string{"name": env.org, "githubLogin": env.org, "avatarUrl": ""}
	if format != "raw" {
		return json.Marshal(map[string]string{"text": fmt.Sprintf("Rotation of %s failed", environmentID(env.org, env.project, env.name))})
	}
	return json.Marshal(map[string]any{
		"user": person, "organization": organization, "projectName": env.project, "environmentName": env.name, "action": "failed",
	})
}

// tell sends the event of a rotation that failed to the environment's webhooks. A listener that does not take it changes nothing.
func (s *Service) tell(ctx context.Context, env *environment, user access.User, event client.SecretRotationEvent) {
	if event.Status != client.RotationEventFailed {
		return
	}
	s.mu.Lock()
	hooks := slices.Collect(maps.Values(env.webhooks))
	s.mu.Unlock()
	for _, hook := range hooks {
		if !hook.hears(rotationFailed) {
			continue
		}
		body, err := rotationOf(hook.Format, env, user)
		if err != nil {
			panic(err) // texts alone
		}
		delivery := s.deliver(ctx, hook, body)
		s.mu.Lock()
		s.deliveries = append(s.deliveries, delivery)
		s.mu.Unlock()
	}
}

// deliver posts a message with the headers that the page above documents. A host for which somebody listens is there.
func (s *Service) deliver(ctx context.Context, hook webhook, body []byte) WebhookDelivery {
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	delivery := WebhookDelivery{URL: hook.PayloadURL, Body: string(body), Header: http.Header{
		"Content-Type":        {"application/json"},
		"Pulumi-Webhook-Id":   {uuid.NewString()},
		"Pulumi-Webhook-Kind": {rotationFailed},
	}}
	if hook.Secret != "" {
		digest := hmac.New(sha256.New, []byte(hook.Secret))
		digest.Write(body)
		delivery.Header.Set("Pulumi-Webhook-Signature", hex.EncodeToString(digest.Sum(nil)))
	}
	address, err := url.Parse(hook.PayloadURL)
	if err != nil {
		return delivery
	}
	s.mu.Lock()
	listener := s.listeners[address.Hostname()]
	s.mu.Unlock()
	if listener != "" {
		address.Scheme, address.Host = "http", listener
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address.String(), bytes.NewReader(body))
	if err != nil {
		return delivery
	}
	request.Header = delivery.Header.Clone()
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return delivery
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	delivery.Status = answer.StatusCode
	return delivery
}
