package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

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
