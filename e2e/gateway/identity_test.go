package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIAMTakesLettersUpToFFInPolicies(t *testing.T) {
	moto := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	t.Cleanup(moto.Close)
	g, err := New(Options{Moto: moto.URL, Account: "111122223333"})
	require.NoError(t, err)
	t.Cleanup(g.Close)
	for resource, want := range map[string]int{"esc_ÿ": http.StatusOK, "esc_Ā": http.StatusBadRequest} {
		for action, parameter := range map[string]string{"PutRolePolicy": "PolicyDocument", "CreateRole": "AssumeRolePolicyDocument"} {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(url.Values{"Action": {action}, parameter: {`{"Resource":"` + resource + `"}`}}.Encode()))
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/iam/aws4_request")
			w := httptest.NewRecorder()
			g.ServeHTTP(w, r)
			assert.Equal(t, want, w.Code, "%s by %s", resource, action)
		}
	}
}
