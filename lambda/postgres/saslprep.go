package postgres

import (
	"unicode/utf8"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/norm"
)

// prohibited are the characters that make PostgreSQL take a password as it is: RFC 4013, section 2.3, and the code
// points that Unicode 3.2 does not assign.
var prohibited = []stringprep.Set{
	stringprep.TableA1,
	stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4, stringprep.TableC5,
	stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
}

// saslprep prepares a password for SCRAM as PostgreSQL's server and libpq do (src/common/saslprep.c), which is
// SASLprep (RFC 4013) with ways of its own: plain ASCII stays as it is, a space of another kind is a space before it
// is nothing (U+200B is both), what is prohibited is looked for before the normalization, and a password that
// SASLprep refuses is used as it is.
func saslprep(password string) string {
	if !utf8.ValidString(password) {
		return password
	}
	ascii := true
	var mapped []rune
	for _, r := range password {
		ascii = ascii && r < utf8.RuneSelf
		_, nothing := stringprep.TableB1[r]
		switch {
		case stringprep.TableC1_2.Contains(r):
			mapped = append(mapped, ' ')
		case !nothing:
			mapped = append(mapped, r)
		}
	}
	if ascii || len(mapped) == 0 {
		return password
	}
	rightToLeft, leftToRight := false, false
	for _, r := range mapped {
		for _, set := range prohibited {
			if set.Contains(r) {
				return password
			}
		}
		rightToLeft = rightToLeft || stringprep.TableD1.Contains(r)
		leftToRight = leftToRight || stringprep.TableD2.Contains(r)
	}
	// RFC 3454, section 6: right to left means from the first character to the last, and no other direction.
	if rightToLeft && (leftToRight || !stringprep.TableD1.Contains(mapped[0]) || !stringprep.TableD1.Contains(mapped[len(mapped)-1])) {
		return password
	}
	return norm.NFKC.String(string(mapped))
}
