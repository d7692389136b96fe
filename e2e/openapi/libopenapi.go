// Package libopenapi stands in for https://github.com/pb33f/libopenapi where the Pulumi CLI is built for the stories, by a replace in
// go.mod. The CLI's `pulumi api` alone reads Pulumi Cloud's OpenAPI document with it; it is a quarter of what there is to compile
// of the CLI, and no story needs it. Here are its types, as far as the CLI names them, and no parser: that command says so.
package libopenapi

import (
	"errors"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"
)

// Document is an OpenAPI document.
type Document interface {
	BuildV3Model() (*DocumentModel[v3.Document], error)
}

// DocumentModel is what a document holds.
type DocumentModel[T any] struct {
	Model T
}

// NewDocument reads no document.
func NewDocument([]byte) (Document, error) {
	return nil, errors.New("this CLI was built without a parser of OpenAPI, which only `pulumi api` needs: use Pulumi's own CLI")
}
