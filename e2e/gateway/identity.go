package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// notInPolicies is what IAM takes in no policy, and moto does: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html.
// The words are those of https://repost.aws/questions/QUmRN8aCw8R1S4jR2GAjLruA/non-ascii-symbols-in-policy-for-s3-actions
var notInPolicies = regexp.MustCompile(`[^\t\n\r\x20-\xFF]`)

// refusesPolicy refuses a call with such a policy, and reports whether it did.
func refusesPolicy(w http.ResponseWriter, body []byte) bool {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return false
	}
	for _, parameter := range []string{"PolicyDocument", "AssumeRolePolicyDocument"} {
		if notInPolicies.MatchString(form.Get(parameter)) {
			iamError(w, http.StatusBadRequest, "ValidationError", "1 validation error detected: Value at '"+strings.ToLower(parameter[:1])+parameter[1:]+
				`' failed to satisfy constraint: Member must satisfy regular expression pattern: [\u0009\u000A\u000D\u0020-\u00FF]+`)
			return true
		}
	}
	return false
}

// refusesBoundary refuses a permissions boundary that the account does not have, which moto takes, and reports whether it did. Of AWS's
// own policies moto has none.
func (g *Gateway) refusesBoundary(w http.ResponseWriter, r *http.Request, body []byte) bool {
	form, err := url.ParseQuery(string(body))
	arn := form.Get("PermissionsBoundary")
	if err != nil || !strings.Contains(arn, ":"+g.options.Account+":") {
		return false
	}
	_, err = iam.NewFromConfig(g.functions.config(regionOf(r))).GetPolicy(r.Context(), &iam.GetPolicyInput{PolicyArn: &arn})
	if err == nil {
		return false
	}
	iamError(w, http.StatusNotFound, "NoSuchEntity", "Scope ARN: "+arn+" does not exist or is not attachable.")
	return true
}

// addClientID answers AddClientIDToOpenIDConnectProvider, which moto lacks: the provider is made anew, with one audience more. An
// audience that it has already is no error:
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddClientIDToOpenIDConnectProvider.html.
func (g *Gateway) addClientID(w http.ResponseWriter, r *http.Request, body []byte) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		iamError(w, http.StatusBadRequest, "InvalidInput", err.Error())
		return
	}
	client := iam.NewFromConfig(g.functions.config(regionOf(r)))
	arn, audience := form.Get("OpenIDConnectProviderArn"), form.Get("ClientID")
	was, err := client.GetOpenIDConnectProvider(r.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	if err != nil {
		iamError(w, http.StatusNotFound, "NoSuchEntity", "OpenIDConnect Provider not found for arn "+arn)
		return
	}
	if !slices.Contains(was.ClientIDList, audience) {
		_, err = client.DeleteOpenIDConnectProvider(r.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		if err == nil {
			_, err = client.CreateOpenIDConnectProvider(r.Context(), &iam.CreateOpenIDConnectProviderInput{
				Url: awssdk.String("https://" + *was.Url), ClientIDList: append(was.ClientIDList, audience),
				ThumbprintList: was.ThumbprintList, Tags: was.Tags,
			})
		}
		if err != nil {
			iamError(w, http.StatusInternalServerError, "ServiceFailure", err.Error())
			return
		}
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprint(w, `<AddClientIDToOpenIDConnectProviderResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId></ResponseMetadata></AddClientIDToOpenIDConnectProviderResponse>`)
}

func iamError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type><Code>%s</Code><Message>%s</Message></Error></ErrorResponse>`, code, message)
}
