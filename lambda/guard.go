package main

import (
	"slices"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// guard is the last look at what leaves the function: it masks the secrets of the event. Messages are built without
// them, so it should have nothing to do.
type guard struct {
	secrets []string
	public  []string
}

// masked stands for a secret.
const masked = "***"

// shortest is the length in bytes of the shortest secret that is masked: a shorter one is found in any sentence.
const shortest = 6

// fixed are the words of the wire, and the stages and states of a message, which stay although a poor password is one.
var fixed = []string{
	"type", "host", "port", "database", "managingUser", "rotateUser", "username", "password", "newPassword", "dryRun",
	"prepare", "masterUser", "rotateUsers", "applicationRole", "privileges",
	event.TypePostgres, event.TypeMySQL,
	string(connector.StageRequest), string(connector.StageConnect), string(connector.StageTLS), string(connector.StageLogin),
	string(connector.StageMaster), string(connector.StageCheck), string(connector.StageChange), string(connector.StageProve), string(connector.StagePrepare),
	string(connector.Unchanged), string(connector.Changed), string(connector.MaybeChanged), string(connector.MaybeMade),
}

// newGuard knows the request's passwords. No other part of an event ever gets into a message.
func newGuard(request event.Request) guard {
	public := append(request.Names(), request.Type, request.Host, strings.Trim(request.Host, "[]"), strconv.Itoa(request.Port), request.Database)
	var secrets []string
	for _, secret := range request.Secrets() {
		secrets = append(secrets, secret.Reveal())
	}
	secrets = slices.DeleteFunc(secrets, func(text string) bool { return len(text) < shortest })
	public = slices.DeleteFunc(public, func(text string) bool { return text == "" })
	return guard{secrets: secrets, public: append(public, fixed...)}
}

// span is a part of a text, from its first byte to the one after its last.
type span struct{ from, to int }

// spans are where a text holds one of the parts, in any form. No form is shorter than its part.
func spans(text string, parts []string) []span {
	var found []span
	for _, part := range parts {
		if len(part) > len(text) {
			continue
		}
		for _, form := range event.Forms(part) {
			for from := 0; ; {
				at := strings.Index(text[from:], form)
				if at < 0 {
					break
				}
				found = append(found, span{from + at, from + at + len(form)})
				from += at + 1
			}
		}
	}
	return found
}

// mask replaces the secrets in a text, but where they are part of something public.
func (g guard) mask(text string) string {
	public := spans(text, g.public)
	byStart := func(a, b span) int { return a.from - b.from }
	slices.SortFunc(public, byStart)
	for i := 1; i < len(public); i++ { // the furthest end of those that begin no later
		public[i].to = max(public[i].to, public[i-1].to)
	}
	var secret []span
	for _, found := range spans(text, g.secrets) {
		after, _ := slices.BinarySearchFunc(public, span{from: found.from + 1}, byStart)
		if after == 0 || public[after-1].to < found.to {
			secret = append(secret, found)
		}
	}
	slices.SortFunc(secret, byStart)
	var kept strings.Builder
	end := 0
	for _, of := range secret {
		if of.from >= end {
			kept.WriteString(text[end:of.from])
			kept.WriteString(masked)
		}
		end = max(end, of.to)
	}
	kept.WriteString(text[end:])
	return kept.String()
}

// visible makes a message one that a terminal shows as it is, and says so: a name may hold any character.
func visible(text string) string {
	shown := event.Visible(text)
	if shown == text {
		return text
	}
	return shown + ` (\n, \x1b and the like stand here for one character each; SQL takes that character itself)`
}
