package event

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret is a text that no formatting prints. Request.Wire alone writes it.
type Secret struct {
	text    *string // a pointer, since package fmt calls no method of a field that is not exported
	inClear bool    // of a copy that Wire writes
}

// NewSecret makes a secret of a plain text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal is the plain text, for the one line that needs it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

const placeholder = "(secret)"

// String is a placeholder.
func (Secret) String() string { return placeholder }

// GoString is a placeholder.
func (Secret) GoString() string { return placeholder }

// Format prints a placeholder for every verb.
func (Secret) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(placeholder)) }

// MarshalJSON writes a placeholder.
func (s Secret) MarshalJSON() ([]byte, error) {
	if s.inClear {
		return json.Marshal(s.Reveal())
	}
	return json.Marshal(placeholder)
}

// LogValue is a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(placeholder) }

// UnmarshalJSON reads a JSON string; null is the empty secret.
func (s *Secret) UnmarshalJSON(text []byte) error {
	var plain string
	err := json.Unmarshal(text, &plain)
	*s = NewSecret(plain)
	return err
}
