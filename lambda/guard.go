package main

import (
	"encoding/json"
	"net/url"
	"sort"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/connector"
)

// guard is the last look at what leaves the function: it masks the secrets of the event. Messages are built without
// them, so it should have nothing to do.
type guard struct {
	secrets []string
	public  []string
}

// mask stands for a secret.
const masked = "***"

// shortest is the length in bytes of the shortest secret that is masked: a shorter one is found in any sentence.
const shortest = 6

// newGuard knows the event's secrets: every text in it but type, host, port, database and the user names.
func newGuard(event []byte, request connector.Request) guard {
	public := []string{request.Type, request.Host, strings.Trim(request.Host, "[]"), strconv.Itoa(request.Port), request.Database}
	if request.ManagingUser != nil {
		public = append(public, request.ManagingUser.Username)
	}
	if request.RotateUser != nil {
		public = append(public, request.RotateUser.Username)
	}
	known := map[string]bool{}
	for _, text := range public {
		known[text] = true
	}
	var g guard
	var content any
	if json.Unmarshal(event, &content) != nil {
		return g
	}
	texts := texts(content, nil)
	if request.ManagingUser != nil {
		texts = append(texts, request.ManagingUser.Password.Reveal())
	}
	if request.RotateUser != nil {
		texts = append(texts, request.RotateUser.Password.Reveal(), request.RotateUser.NewPassword.Reveal())
	}
	for _, text := range texts {
		if len(text) >= shortest && !known[text] {
			g.secrets = append(g.secrets, text)
		}
	}
	for _, text := range public {
		if text != "" {
			g.public = append(g.public, text)
		}
	}
	return g
}

// texts are all the texts in a JSON value.
func texts(value any, found []string) []string {
	switch value := value.(type) {
	case string:
		found = append(found, value)
	case []any:
		for _, item := range value {
			found = texts(item, found)
		}
	case map[string]any:
		for _, item := range value {
			found = texts(item, found)
		}
	}
	return found
}

// forms are a text as it is, and as it would be written within quotes by Go, JSON and SQL, and in a URL.
func forms(text string) []string {
	quoted := strconv.Quote(text)
	ascii := strconv.QuoteToASCII(text)
	inJSON, _ := json.Marshal(text) // a string can always be written
	var plain strings.Builder
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	doubled := strings.ReplaceAll(text, "'", "''")
	all := []string{
		text, quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1], string(inJSON[1 : len(inJSON)-1]), strings.Trim(plain.String(), "\n"),
		doubled, strings.ReplaceAll(doubled, `\`, `\\`), strings.ReplaceAll(text, `"`, `""`), strings.ReplaceAll(text, "`", "``"),
		strings.NewReplacer(`\`, `\\`, "'", `\'`, `"`, `\"`).Replace(text), url.QueryEscape(text), url.PathEscape(text),
	}
	all[4] = all[4][1 : len(all[4])-1]
	seen := map[string]bool{}
	var different []string
	for _, form := range all {
		if !seen[form] {
			seen[form] = true
			different = append(different, form)
		}
	}
	return different
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
		for _, form := range forms(part) {
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
	var secret []span
	for _, found := range spans(text, g.secrets) {
		inside := false
		for _, of := range public {
			inside = inside || of.from <= found.from && found.to <= of.to
		}
		if !inside {
			secret = append(secret, found)
		}
	}
	sort.Slice(secret, func(i, j int) bool { return secret[i].from < secret[j].from })
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
