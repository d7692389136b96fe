package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
)

// SecretStatus is what RDS tells from now on of the secrets that it keeps, such as rotating; "" ends that. The statuses are those of
// https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_MasterUserSecret.html
func (g *Gateway) SecretStatus(status string) { g.secretStatus.Store(&status) }

var secretStatus = regexp.MustCompile(`<SecretStatus>\w*</SecretStatus>`)

// asPlayed puts the played status into an answer of RDS's.
func (g *Gateway) asPlayed(body []byte) []byte {
	if status := g.secretStatus.Load(); status != nil && *status != "" {
		return secretStatus.ReplaceAll(body, []byte("<SecretStatus>"+*status+"</SecretStatus>"))
	}
	return body
}

// serveSecrets refuses to decrypt a secret for who may not use its key. That is asked for a customer's key only: the policy of AWS's
// own lets in everyone of the account who comes by Secrets Manager
// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html). The words are those of
// https://github.com/aws-samples/aws-secrets-manager-rotation-lambdas/issues/53
func (g *Gateway) serveSecrets(w http.ResponseWriter, r *http.Request, action string, body []byte) {
	g.mu.Lock()
	denied := slices.Contains(g.denied, "kms:Decrypt")
	g.mu.Unlock()
	if action == "GetSecretValue" && denied && g.hasCustomersKey(r, body) {
		lambdaError(w, http.StatusBadRequest, "AccessDeniedException", "Access to KMS is not allowed")
		return
	}
	g.moto.ServeHTTP(w, r)
}

func (g *Gateway) hasCustomersKey(r *http.Request, body []byte) bool {
	var asked, secret struct{ SecretId, KmsKeyId string }
	if json.Unmarshal(body, &asked) != nil {
		return false
	}
	question, _ := json.Marshal(map[string]string{"SecretId": asked.SecretId})
	describe := r.Clone(r.Context())
	describe.Header.Set("X-Amz-Target", "secretsmanager.DescribeSecret")
	describe.Body, describe.ContentLength = io.NopCloser(bytes.NewReader(question)), int64(len(question))
	recorder := httptest.NewRecorder()
	g.moto.ServeHTTP(recorder, describe)
	return json.Unmarshal(recorder.Body.Bytes(), &secret) == nil && secret.KmsKeyId != "" && !strings.Contains(secret.KmsKeyId, "alias/aws/")
}

// PutSecret changes what a secret holds.
func (g *Gateway) PutSecret(ctx context.Context, region, id, text string) error {
	body, err := json.Marshal(map[string]string{"SecretId": id, "SecretString": text})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.options.Moto+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	request.Header.Set("X-Amz-Target", "secretsmanager.PutSecretValue")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=gateway/20260101/"+region+"/secretsmanager/aws4_request, SignedHeaders=host, Signature=none")
	response, err := accountTransport(g.options.Account).RoundTrip(request)
	if err != nil {
		return fmt.Errorf("changing the secret %s: %w", id, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(response.Body)
		return fmt.Errorf("changing the secret %s: %s: %s", id, response.Status, answer)
	}
	return nil
}
