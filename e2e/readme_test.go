package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/postgres"
)

// The SQL of the README, run by a master user who is no superuser, is enough on every version of PostgreSQL.
func TestTheSQLOfTheReadmeIsEnoughForARotation(t *testing.T) {
	script := filepath.Join(t.TempDir(), "readme.sql")
	text := strings.Join(readPage(t, "docs/USERS.md").blocks("postgresql", "sql"), "\n")
	require.NoError(t, os.WriteFile(script, []byte(text), 0o644))
	cache, err := dbtest.CacheFolder()
	require.NoError(t, err)
	for _, version := range []string{"13", "16", "18"} {
		t.Run(version, func(t *testing.T) {
			server, err := dbtest.StartPostgres(t.Context(), dbtest.Options{BinDir: filepath.Join(cache, "postgres", version, "bin")})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, server.Stop()) })
			require.NoError(t, server.Exec(t.Context(), masterUser(road.Postgres)...))
			out, err := psqlClient("psql", server, script, managingPassword).CombinedOutput()
			require.NoError(t, err, "%s", out)
			tables := filepath.Join(t.TempDir(), "tables.sql")
			require.NoError(t, os.WriteFile(tables, []byte("SET ROLE app; CREATE TABLE orders ();"), 0o644))
			out, err = psqlClient("psql", server, tables, "").CombinedOutput()
			require.NoError(t, err, "%s", out)
			for _, user := range []string{"app_user1", "app_user2"} {
				request := event.Request{Type: event.TypePostgres, Host: server.Host, Port: server.Port, Database: "app",
					ManagingUser: &event.ManagingUser{Username: "managing_user", Password: event.NewSecret(managingPassword)},
					RotateUser:   &event.RotateUser{Username: user, NewPassword: event.NewSecret("a new password")}}
				require.NoError(t, request.Check())
				outcome, err := postgres.Rotate(t.Context(), connector.NewServer(request, nil), request)
				require.NoError(t, err)
				assert.Equal(t, connector.ProofDone, outcome.Proof)
			}
			removal := filepath.Join(t.TempDir(), "removal.sql")
			require.NoError(t, os.WriteFile(removal, []byte(strings.Join(readPage(t, "docs/USERS.md").blocks("from-postgresql", "sql"), "\n")), 0o644))
			out, err = psqlClient("psql", server, removal, "").CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}

func TestEveryCommandOfThePagesIsRunByAStory(t *testing.T) {
	stories, err := filepath.Glob("testdata/readme/*.txtar")
	require.NoError(t, err)
	var all bytes.Buffer
	for _, story := range stories {
		text, err := os.ReadFile(story)
		require.NoError(t, err)
		all.Write(text)
	}
	for _, p := range readPages(t) {
		for _, block := range p.code {
			var pattern string
			switch block.language {
			case "sh":
				pattern = fmt.Sprintf(`(?m)^!? ?sh %s (\d+ )*%d( |$)`, block.section, block.number)
			case "sql":
				pattern = fmt.Sprintf(`(?m)^sql \w+ %s( |$)`, block.section)
			case "yaml", "json":
				pattern = fmt.Sprintf(`(?m)^save %s %s `, block.section, block.language)
			case "go":
				source, err := os.ReadFile("application/application.go")
				require.NoError(t, err)
				assert.True(t, strings.HasSuffix(string(source), block.text), "the Go of %s differs from application/application.go", p.name)
				continue
			default:
				t.Errorf("%s#%s: nothing knows what to do with a block of %q:\n%s", p.name, block.section, block.language, block.text)
				continue
			}
			assert.True(t, regexp.MustCompile(pattern).Match(all.Bytes()), "%s#%s: no story runs\n%s", p.name, block.section, block.text)
		}
	}
}
