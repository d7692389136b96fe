// Package base has libopenapi's types of schemas.
package base

import (
	"github.com/pb33f/libopenapi/orderedmap"
	"go.yaml.in/yaml/v4"
)

// Info is about a document.
type Info struct {
	Version string
}

// SchemaProxy leads to a schema.
type SchemaProxy struct{}

// Schema is the schema that it leads to: none, since no document is read.
func (*SchemaProxy) Schema() *Schema { return nil }

// DynamicValue is one of two kinds of value.
type DynamicValue[A, B any] struct {
	A A
	B B
}

// IsA reports whether it is the first kind.
func (*DynamicValue[A, B]) IsA() bool { return false }

// Discriminator tells variants of a schema apart.
type Discriminator struct {
	PropertyName string
	Mapping      *orderedmap.Map[string, string]
}

// LowSchema is a schema in the form of its document.
type LowSchema struct{}

// Hash is the same for the same schema.
func (*LowSchema) Hash() uint64 { return 0 }

// Schema describes a value.
type Schema struct {
	Type                                     []string
	AllOf, OneOf, AnyOf                      []*SchemaProxy
	Discriminator                            *Discriminator
	Enum                                     []*yaml.Node
	Default                                  *yaml.Node
	Properties                               *orderedmap.Map[string, *SchemaProxy]
	Extensions                               *orderedmap.Map[string, *yaml.Node]
	Items, AdditionalProperties              *DynamicValue[*SchemaProxy, bool]
	Required                                 []string
	Title, Format, Pattern, Description      string
	Nullable, ReadOnly, WriteOnly            *bool
	Deprecated, UniqueItems                  *bool
	MultipleOf, Maximum, Minimum             *float64
	MaxLength, MinLength, MaxItems, MinItems *int64
}

// GoLow is the schema in the form of its document.
func (*Schema) GoLow() *LowSchema { return nil }

// MarshalJSONInline is the schema with all that it refers to.
func (*Schema) MarshalJSONInline() ([]byte, error) { panic("no document was read") }
