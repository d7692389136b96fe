package mysql

import (
	"net/netip"
	"strconv"
	"strings"

	"esc-connector-lambda-go/lambda/event"
)

// account is a MySQL account, 'name'@'host'.
type account struct{ name, host string }

// parseAccount reads name@host. Without a host it is any host, %.
func parseAccount(username string) account {
	name, host := event.SplitAccount(username)
	return account{name, host}
}

// String is the account as SQL writes it, for people.
func (a account) String() string { return literal(a.name) + "@" + literal(a.host) }

// sql is the account in a statement, in which it means the same in all modes of the server.
func (a account) sql() string { return quoted(a.name) + "@" + quoted(a.host) }

func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(text) + "'"
}

// is reports whether CURRENT_USER(), or another text of the server's, names the account. Hosts know no case.
func (a account) is(text string) bool {
	name, host := event.SplitAccount(text)
	return name == a.name && strings.EqualFold(host, a.host)
}

// sameName reports whether two names are the same user to a person: in quotes or not, in whatever case.
func sameName(one, other string) bool {
	return strings.EqualFold(bare(strings.TrimSpace(one)), bare(strings.TrimSpace(other)))
}

// bare is a name or a host without the quotes that SQL writes around it.
func bare(text string) string {
	for _, quote := range []string{"'", "`", `"`} {
		if len(text) > 2 && strings.HasPrefix(text, quote) && strings.HasSuffix(text, quote) {
			return text[1 : len(text)-1]
		}
	}
	return text
}

// unquoted is a sentence about a field whose account is written as in SQL, "" where it is not. Such a name may be meant,
// so it is said only after the database refused it.
func (a account) unquoted(field string) string {
	plain := account{bare(a.name), bare(a.host)}
	if plain == a {
		return ""
	}
	return field + " is in quotes, which count as a part of the name: write " + strconv.Quote(plain.name+"@"+plain.host)
}

// admits reports whether the account's host lets a client in that the server sees as client, a name or an address
// (the MySQL manual's section "Specifying Account Names"). It may say yes where the server would say no: a client that
// the server sees by its name can match by its address, too.
func (a account) admits(client string) bool {
	if len(client) > longestHost || len(a.host) > longestHost {
		return false
	}
	address, err := netip.ParseAddr(client)
	byName := err != nil
	if network, mask, ok := strings.Cut(a.host, "/"); ok {
		return byName || inNetwork(address.Unmap(), network, mask)
	}
	if byName && looksNumeric(a.host) {
		return true
	}
	return a.host == "" || like(strings.ToLower(client), strings.ToLower(a.host))
}

// looksNumeric reports whether a host pattern could match an address.
func looksNumeric(host string) bool {
	return strings.Trim(host, "0123456789abcdefABCDEF.:%_") == ""
}

// inNetwork reports whether an IPv4 address lies in network/mask, where mask is 255.255.255.0 or 24.
func inNetwork(address netip.Addr, network, mask string) bool {
	base, err := netip.ParseAddr(network)
	if err != nil || !base.Is4() || !address.Is4() {
		return false
	}
	if bits, err := strconv.Atoi(mask); err == nil {
		prefix, err := base.Prefix(bits)
		return err == nil && prefix.Contains(address)
	}
	bits, err := netip.ParseAddr(mask)
	if err != nil || !bits.Is4() {
		return false
	}
	b, a, m := base.As4(), address.As4(), bits.As4()
	for i := range m {
		if a[i]&m[i] != b[i] {
			return false
		}
	}
	return true
}

// like is SQL's LIKE: % is any text, _ any character, \ takes the next one as it is. It goes back to the last % alone, so
// that its work is the two lengths' product at the most.
func like(text, pattern string) bool {
	const none = -1
	at, in, lastAny, resume := 0, 0, none, 0
	for at < len(text) {
		switch {
		case in < len(pattern) && pattern[in] == '%':
			in++
			lastAny, resume = in, at
			continue
		case in < len(pattern) && pattern[in] == '_':
			at, in = at+1, in+1
			continue
		case in+1 < len(pattern) && pattern[in] == '\\' && pattern[in+1] == text[at]:
			at, in = at+1, in+2
			continue
		case in < len(pattern) && pattern[in] != '\\' && pattern[in] == text[at]:
			at, in = at+1, in+1
			continue
		case lastAny == none:
			return false
		}
		resume++
		at, in = resume, lastAny
	}
	return strings.Trim(pattern[in:], "%") == ""
}

// longestHost is the length of the longest host of a client, or of an account's pattern: characters of a column of
// mysql.user.
const longestHost = 255

// seen is a client as the server sees it, for people. A name could be any text of the server's, and is not told.
func seen(client string) string {
	if address, err := netip.ParseAddr(client); err == nil {
		return address.Unmap().WithZone("").String()
	}
	return "a host by its name"
}
