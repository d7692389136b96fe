package postgres

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
)

// Each row says what it means and what to do, fills in what it names, and is reached: none stands below one that takes all.
func TestEachCauseIsReachedAndHasAFix(t *testing.T) {
	t.Parallel()
	request := event.Request{Type: event.TypePostgres, Database: "app", Host: "db.example", Port: 5432,
		ManagingUser: &event.ManagingUser{Username: "manager"}, RotateUser: &event.RotateUser{Username: "user"}}
	r := newRotation(connector.NewServer(request, nil), request)
	for i, row := range causes {
		code := (row.code + "000")[:max(len(row.code), 3)] // of a class, one that has no row of its own
		if row.code == "" {
			code = "42601"
		}
		for _, at := range []moment{atDoor, inside, checking, changing, proving, masterDoor, masterInside, making, withVerifier} {
			if row.at&at == 0 {
				continue
			}
			if found := causeOf(&serverError{code: code, routine: row.routine}, at); found.why == row.why {
				row.at &^= at
			}
		}
		assert.Less(t, row.at, causes[i].at, "row %d (%s) is never reached", i, row.code)
		why, fix := r.fill(row.why, "user"), r.fill(row.fix, "user")
		assert.NotEmpty(t, why)
		assert.NotEmpty(t, fix)
		for _, text := range []string{strings.Replace(why, "{took}", "", 1), fix} {
			assert.NotContains(t, text, "{", row.code)
		}
		if strings.Contains(row.why, "{took}") {
			assert.Equal(t, changing, causes[i].at, "only the change says how long it was tried: %s", row.code)
		}
	}
}
