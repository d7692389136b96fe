package connector

import (
	"crypto/tls"
	"strings"
)

// Report is what a dry run found.
type Report struct {
	Server *Server
	// TLS is the state of the connection that was made, nil for plain text.
	TLS *tls.ConnectionState

	found   []string
	unknown []string
}

// Add adds something that was found.
func (r *Report) Add(finding string) { r.found = append(r.found, finding) }

// Unknown adds something that could not be known.
func (r *Report) Unknown(what string) { r.unknown = append(r.unknown, what) }

// Outcome is the report as the answer to a dry run.
func (r *Report) Outcome() Outcome {
	encryption := "not encrypted (" + SSLModeVariable + " is disable)"
	if r.TLS != nil {
		encryption = r.Server.Certificate(*r.TLS)
	}
	found := append([]string{"connected to " + r.Server.Address() + " (" + r.Server.Addresses() + ")", encryption}, r.found...)
	message := "dry run, nothing was changed: " + strings.Join(found, "; ")
	if len(r.unknown) > 0 {
		message += ". Not known: " + strings.Join(r.unknown, "; ")
	}
	return Outcome{Proof: ProofNone, Message: message}
}

// Prepared says for a person what a preparation made, found and added, or in a dry run would make and add.
func Prepared(dryRun bool, made, found, added []string) (parts []string) {
	madeWord, addedWord := "made", "added"
	if dryRun {
		madeWord, addedWord = "would make", "would add"
	}
	for _, part := range []struct {
		word string
		list []string
	}{{madeWord, made}, {"found", found}, {addedWord, added}} {
		if len(part.list) > 0 {
			parts = append(parts, part.word+" "+strings.Join(part.list, ", "))
		}
	}
	if len(made)+len(added) == 0 {
		parts = append(parts, "nothing was missing")
	}
	return parts
}

// Version is the number with which a version of the server's begins, 8.0.36 of 8.0.36-log: the rest may be anything.
func Version(text string) string {
	const longest = 20 // bytes: three numbers
	number := strings.Trim(text[:len(text)-len(strings.TrimLeft(text, "0123456789."))], ".")
	if number == "" || len(number) > longest {
		return "of an unknown version"
	}
	return number
}

// Printable is a text of the server's fit for a message, such as a version or an account: whole or not at all, since a
// server may know a password, and a part of it would pass every later check for the whole.
func Printable(text string) string {
	const longest = 255 // bytes, those of a host name
	strange := func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && !strings.ContainsRune(" ._-+:()~@%/", r)
	}
	if len(text) > longest || strings.ContainsFunc(text, strange) {
		return "(not printable)"
	}
	return text
}
