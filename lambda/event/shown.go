package event

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// What of an event, or of a setting that becomes a part of one, may stand in a message or a log, and in which forms what may not
// could get there.

// ShownHost is the host for a message or a log. What is pasted there may hold a password, as a URL or a connection string
// does: it is shown where it is written like a host's name or address, with a port at the most, and else not at all.
func ShownHost(host string) string {
	name, port, err := net.SplitHostPort(host)
	if _, wrong := strconv.ParseUint(port, 10, 16); err != nil || wrong != nil {
		name = host
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(name), "["), "]")
	if address, err := netip.ParseAddr(bare); err == nil {
		bare = address.Zone() // which may be any text
	}
	strange := func(c rune) bool {
		return c != '.' && c != '-' && c != '_' && c != ',' && !unicode.IsLetter(c) && !unicode.IsDigit(c)
	}
	if strings.ContainsFunc(bare, strange) {
		return notShown
	}
	return host
}

// ShownName is the name of a database or of a user for a log. Other than a host's, it may be written in any way.
func ShownName(name string) string {
	if _, after, found := strings.Cut(name, ":"); isConnection(name) || found && strings.Contains(after, "@") { // user:password@host
		return notShown
	}
	return name
}

const notShown = "(not shown)"

// isConnection knows a URL or a connection string, which may hold a password.
func isConnection(text string) bool {
	packed := strings.ToLower(strings.Join(strings.Fields(text), "")) // libpq takes blanks around =
	return slices.ContainsFunc([]string{"://", "password=", "passwd=", "pass=", "pwd=", `password":`, "password':", "password:", "@tcp(", "@unix(", "@/"}, func(sign string) bool { return strings.Contains(packed, sign) })
}

// Visible writes each character that a terminal would obey, or not show, as Go does.
func Visible(text string) string {
	var shown strings.Builder
	for _, char := range text {
		written := string(char)
		if !unicode.IsPrint(char) {
			written = strings.Trim(strconv.QuoteRune(char), "'")
		}
		shown.WriteString(written)
	}
	return shown.String()
}

// Forms are a text as it is, and as Go, JSON and SQL write it within quotes, and a URL: each once. None is shorter than the text.
func Forms(text string) []string {
	within := func(quoted string) string { return quoted[1 : len(quoted)-1] }
	inJSON, _ := json.Marshal(text) // a string can always be written
	var plain bytes.Buffer
	encoder := json.NewEncoder(&plain)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(text)
	doubled := strings.ReplaceAll(text, "'", "''")
	var forms []string
	for _, form := range []string{
		text, within(strconv.Quote(text)), within(strconv.QuoteToASCII(text)), within(string(inJSON)), within(strings.TrimSpace(plain.String())),
		doubled, strings.ReplaceAll(doubled, `\`, `\\`), strings.ReplaceAll(text, `"`, `""`), strings.ReplaceAll(text, "`", "``"),
		strings.NewReplacer(`\`, `\\`, "'", `\'`, `"`, `\"`).Replace(text), url.QueryEscape(text), url.PathEscape(text),
	} {
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	return forms
}
