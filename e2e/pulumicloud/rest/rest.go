// Package rest is what the services that play Pulumi Cloud have in common: how
// they answer, and how a test makes them fail.
package rest

import (
	"encoding/json"
	"net/http"

	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
)

// Answer writes a body as JSON.
func Answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		Fail(w, http.StatusInternalServerError, "encoding the answer: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}

// Fail writes an error as Pulumi Cloud's clients read it.
func Fail(w http.ResponseWriter, status int, message string) {
	Answer(w, status, apitype.ErrorResponse{Code: status, Message: message})
}

// Decode reads a request's body as JSON. It answers the request itself where it cannot.
func Decode(w http.ResponseWriter, r *http.Request, request any) bool {
	if err := json.NewDecoder(r.Body).Decode(request); err != nil {
		Fail(w, http.StatusBadRequest, "Bad Request: "+err.Error())
		return false
	}
	return true
}
