// The function is a program for Linux.

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/dbtest"
)

// build is the function's program, built as for Lambda, once.
var build = sync.OnceValues(func() (string, error) {
	program := filepath.Join(testFolder, "bootstrap")
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc,nethttpomithttp2", "-trimpath", "-ldflags", "-s -w", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, output)
	}
	return program, nil
})

// function is a running bootstrap, served by a Lambda Runtime API (the Lambda developer guide's page "Using the Lambda
// runtime API").
type function struct {
	t       *testing.T
	process *os.Process
	events  chan []byte
	replies chan reply
	output  *lines
	timeout time.Duration
}

type reply struct {
	kind string // response or error
	body string
}

// lines is what the process wrote, safe to read while it writes.
type lines struct {
	lock sync.Mutex
	text strings.Builder
}

func (l *lines) Write(text []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.Write(text)
}

func (l *lines) String() string {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.text.String()
}

// start runs bootstrap with nothing in its environment but what is given and what Lambda sets.
func start(t *testing.T, timeout time.Duration, environment ...string) *function {
	t.Helper()
	program, err := build()
	require.NoError(t, err)
	f := &function{t: t, events: make(chan []byte), replies: make(chan reply, 1), output: &lines{}, timeout: timeout}
	ended := make(chan struct{})
	api := http.NewServeMux()
	const invocation = "/2018-06-01/runtime/invocation/"
	api.HandleFunc("GET "+invocation+"next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case event := <-f.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request-1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(f.timeout).UnixMilli()))
			_, _ = w.Write(event)
		case <-r.Context().Done():
		case <-ended:
		}
	})
	for _, kind := range []string{"response", "error"} {
		api.HandleFunc("POST "+invocation+"request-1/"+kind, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			f.replies <- reply{kind, string(body)}
		})
	}
	server := httptest.NewServer(api)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
	cmd.Dir = filepath.Dir(program)
	cmd.Env = append([]string{"AWS_LAMBDA_RUNTIME_API=" + server.Listener.Addr().String()}, environment...)
	cmd.Stdout, cmd.Stderr = f.output, f.output
	require.NoError(t, cmd.Start())
	f.process = cmd.Process
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		close(ended)
		server.Close()
	})
	return f
}

// send sends an event and waits for the reply, at the longest until a little after the deadline.
func (f *function) send(event []byte) reply {
	f.t.Helper()
	select {
	case f.events <- event:
	case <-time.After(10 * time.Second):
		require.FailNow(f.t, "bootstrap asks for no event", f.output.String())
	}
	select {
	case answer := <-f.replies:
		return answer
	case <-time.After(f.timeout):
		require.FailNow(f.t, "no answer before the deadline", f.output.String())
		return reply{}
	}
}

func (f *function) rotate(event wire) answer {
	f.t.Helper()
	text, err := json.Marshal(event)
	require.NoError(f.t, err)
	reply := f.send(text)
	require.Equal(f.t, "response", reply.kind, reply.body)
	result := answer{raw: reply.body + f.output.String()}
	require.NoError(f.t, json.Unmarshal([]byte(reply.body), &result))
	return result
}

// trusting is the environment of a function that trusts the test's servers.
func trusting() string {
	return connector.SSLRootCertVariable + "=" + os.Getenv(connector.SSLRootCertVariable)
}

func TestBootstrapRotatesAndLogsOneLineAnEvent(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		function := start(t, plenty, trusting())
		rotation := rotation(t, db)
		for range 2 {
			answer := function.rotate(rotation)
			assert.Equal(t, 200, answer.Code, answer.Message)
		}
		require.Eventually(t, func() bool { return strings.Count(function.output.String(), "\n") == 2 }, 10*time.Second, time.Millisecond, function.output)
		lines := strings.Split(function.output.String(), "\n")
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(lines[0]), &line))
		_, err := time.Parse(time.RFC3339, line["timestamp"].(string))
		assert.NoError(t, err)
		delete(line, "timestamp")
		assert.IsType(t, 0.0, line["durationMs"])
		delete(line, "durationMs")
		assert.Equal(t, map[string]any{
			"level": "INFO", "msg": "rotation", "event": "rotation", "requestId": "request-1", "stage": "prove", "engine": db.kind, "host": db.Host, "port": float64(db.Port),
			"database": databaseName, "targetUser": rotation["rotateUser"].(map[string]any)["username"], "dryRun": false, "result": "ok", "proof": "done",
		}, line)
	})
}

func TestAnEventThatIsNoObjectIsAFunctionErrorAndTheNextOneIsServed(t *testing.T) {
	t.Parallel()
	function := start(t, plenty, trusting())
	for _, text := range []string{"null", `"Hidden-Secret-9"`, "[1]", "{", "17", "", `{"managingUser": {"password": "Hidden-Secret-9"}`} {
		reply := function.send([]byte(text))
		assert.Equal(t, "error", reply.kind, text)
		assert.NotContains(t, reply.body+function.output.String(), "Hidden-Secret-9")
	}
	assert.Equal(t, 200, function.rotate(rotation(t, postgresDatabase())).Code)
}

func TestNothingInTheEnvironmentHasAnEffect(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, ".pgpass"), []byte("*:*:*:*:wrong\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(home, ".pg_service.conf"), []byte("[other]\nhost=192.0.2.1\n"), 0o600))
	function := start(t, plenty, trusting(), "HOME="+home, "PGHOST=192.0.2.1", "PGPORT=none", "PGUSER=other", "PGPASSWORD=other", "PGDATABASE=other",
		"PGSSLMODE=disable", "PGSERVICE=missing", "PGSERVICEFILE=/nowhere", "PGOPTIONS=-c search_path=evil", "PGTARGETSESSIONATTRS=standby",
		"PGCONNECT_TIMEOUT=never", "MYSQL_PWD=other", "MYSQL_HOST=192.0.2.1", "HTTPS_PROXY=http://192.0.2.1:1")
	assert.Equal(t, 200, function.rotate(rotation(t, postgresDatabase())).Code)
	assert.Equal(t, 200, function.rotate(rotation(t, mariaDBDatabase())).Code)
}

func TestTLSTerms(t *testing.T) {
	certificate := filepath.Join(t.TempDir(), "broken.pem")
	require.NoError(t, os.WriteFile(certificate, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o644))
	root, err := os.ReadFile(os.Getenv(connector.SSLRootCertVariable))
	require.NoError(t, err)
	cut := filepath.Join(t.TempDir(), "cut.pem")
	require.NoError(t, os.WriteFile(cut, append(root, "-----BEGIN CERTIFICATE-----\nAAAA\n"...), 0o644))
	marked := filepath.Join(t.TempDir(), "marked.pem")
	require.NoError(t, os.WriteFile(marked, append([]byte("\ufeff"), root...), 0o644))
	taskRoot, badRoot := t.TempDir(), t.TempDir()
	for file, content := range map[string]string{
		filepath.Join(taskRoot, "ca.pem"): strings.ReplaceAll(string(root), "\n", "\r\n"), filepath.Join(taskRoot, "database-ca.pem"): string(root),
		filepath.Join(badRoot, "database-ca.pem"): "no certificate",
	} {
		require.NoError(t, os.WriteFile(file, []byte(content), 0o644))
	}
	for name, c := range map[string]struct {
		environment []string
		host        string
		code        int
		message     []string
	}{
		"verified by default":                       {environment: []string{trusting()}, code: 200},
		"verified by name":                          {environment: []string{trusting(), "DB_SSLMODE=verify-full"}, host: "localhost", code: 200},
		"the CA beside bootstrap":                   {environment: []string{"LAMBDA_TASK_ROOT=" + taskRoot, "DB_SSLROOTCERT=ca.pem"}, code: 200},
		"database-ca.pem without a variable":        {environment: []string{"LAMBDA_TASK_ROOT=" + taskRoot}, code: 200},
		"database-ca.pem without a certificate":     {environment: []string{"LAMBDA_TASK_ROOT=" + badRoot}, code: 400, message: []string{"beside the function's code", "no PEM certificate"}},
		"require believes any certificate":          {environment: []string{"DB_SSLMODE=require"}, code: 200},
		"a CA that is not trusted":                  {code: 400, message: []string{"TLS: ", "dbtest CA", "DB_SSLROOTCERT", "databaseCaFile"}},
		"a host that the certificate does not name": {environment: []string{trusting()}, host: "127.0.0.2", code: 400, message: []string{"TLS: ", "localhost", "127.0.0.1", "endpoint"}},
		"disable, where the server wants TLS":       {environment: []string{"DB_SSLMODE=disable"}, code: 400, message: []string{"log in as managing user", "DB_SSLMODE"}},
		"an unknown mode":                           {environment: []string{"DB_SSLMODE=prefer"}, code: 400, message: []string{"DB_SSLMODE", "prefer", "verify-full", "require", "disable"}},
		"another spelling is unknown":               {environment: []string{"DB_SSLMODE=Disable"}, code: 400, message: []string{"DB_SSLMODE", "Disable"}},
		"a CA file that is not there":               {environment: []string{"DB_SSLROOTCERT=/nowhere/ca.pem"}, code: 400, message: []string{"DB_SSLROOTCERT", "/nowhere/ca.pem", "Run pulumi up"}},
		"a CA file that is not there, with require": {environment: []string{"DB_SSLMODE=require", "DB_SSLROOTCERT=/nowhere/ca.pem"}, code: 400, message: []string{"DB_SSLROOTCERT"}},
		"a CA file that holds no certificate":       {environment: []string{"DB_SSLROOTCERT=/etc/passwd"}, code: 400, message: []string{"DB_SSLROOTCERT", "no PEM certificate"}},
		"a CA file with a byte order mark":          {environment: []string{"DB_SSLROOTCERT=" + marked}, code: 200},
		"a CA file that is cut short":               {environment: []string{"DB_SSLROOTCERT=" + cut}, code: 400, message: []string{"DB_SSLROOTCERT", "number 3"}},
		"a CA file with a broken certificate":       {environment: []string{"DB_SSLROOTCERT=" + certificate}, code: 400, message: []string{"DB_SSLROOTCERT", "number 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, db database) {
				rotation := rotation(t, db)
				if c.host != "" {
					rotation = rotation.with("host", c.host)
				}
				answer := start(t, plenty, c.environment...).rotate(rotation)
				assert.Equal(t, c.code, answer.Code, answer.Message)
				for _, part := range c.message {
					assert.Contains(t, answer.Message, part)
				}
			})
		})
	}
}

// silent is a port that accepts connections and never says a word.
func silent(t *testing.T, address string) int {
	t.Helper()
	return serve(t, address, func(conn net.Conn) { t.Cleanup(func() { conn.Close() }) })
}

// dropping is a port whose connection requests get no answer: nobody accepts, and its queue is full.
func dropping(t *testing.T) int {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Close(socket) })
	require.NoError(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(socket, 0))
	name, err := syscall.Getsockname(socket)
	require.NoError(t, err)
	port := name.(*syscall.SockaddrInet4).Port
	for {
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 300*time.Millisecond)
		if err != nil {
			return port
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// holdPostgres keeps a role locked until it is released.
func holdPostgres(t *testing.T, role string) (release func()) {
	t.Helper()
	return hold(t, dbtest.Psql(), []string{"--no-psqlrc", "--quiet"},
		[]string{"PGHOST=" + postgresServer.Host, fmt.Sprintf("PGPORT=%d", postgresServer.Port), "PGUSER=" + postgresServer.AdminUser, "PGPASSWORD=" + postgresServer.AdminPassword},
		fmt.Sprintf("BEGIN; ALTER ROLE %s CONNECTION LIMIT 7; SELECT 'locked';\n", sqlName(role)))
}

// holdMariaDB keeps the tables of accounts locked until it is released.
func holdMariaDB(t *testing.T) (release func()) {
	t.Helper()
	return hold(t, "mariadb", []string{"--no-defaults", "--protocol=tcp", "--ssl", "--unbuffered", "--host", mariaDBServer.Host, "--port", fmt.Sprint(mariaDBServer.Port), "--user", mariaDBServer.AdminUser},
		[]string{"MYSQL_PWD=" + mariaDBServer.AdminPassword}, "FLUSH TABLES WITH READ LOCK; SELECT 'locked';\n")
}

func hold(t *testing.T, program string, arguments, environment []string, statements string) func() {
	t.Helper()
	client := exec.Command(program, arguments...)
	client.Env = append(environment, "PATH="+os.Getenv("PATH"))
	client.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := client.StdinPipe()
	require.NoError(t, err)
	output := &lines{}
	client.Stdout, client.Stderr = output, output
	require.NoError(t, client.Start())
	var once sync.Once
	release := func() { once.Do(func() { input.Close(); _ = client.Wait() }) }
	t.Cleanup(release)
	_, err = io.WriteString(input, statements)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(output.String(), "locked") }, 10*time.Second, 10*time.Millisecond, output)
	return release
}

func TestAChangeThatWasGivenUpIsNeverAppliedLater(t *testing.T) {
	for name, db := range map[string]database{"postgres": postgresDatabase(), "mariadb": mariaDBDatabase()} {
		t.Run(name, func(t *testing.T) {
			rotation := rotation(t, db)
			user := rotation["rotateUser"].(map[string]any)["username"].(string)
			var release func()
			if name == "postgres" {
				release = holdPostgres(t, user)
			} else {
				release = holdMariaDB(t)
			}
			function := start(t, 4*time.Second, trusting())
			answer := function.rotate(rotation)
			require.NoError(t, function.process.Signal(syscall.SIGSTOP)) // as Lambda freezes the process after its answer
			assert.Equal(t, 400, answer.Code)
			assert.Contains(t, answer.Message, "change: ")
			assert.Contains(t, answer.Message, "locked")
			assert.Contains(t, answer.Message, "Nothing was changed")
			release()
			// The lock's next owner is the change, if it is still waiting: another change that follows shows that it is not.
			if name == "postgres" {
				require.NoError(t, db.Exec(t.Context(), "ALTER ROLE "+sqlName(user)+" CONNECTION LIMIT 8"))
			} else {
				require.NoError(t, db.Exec(t.Context(), "ALTER USER "+sqlAccount(user)+" WITH MAX_USER_CONNECTIONS 8"))
			}
			assert.NoError(t, db.login(t, user, oldPassword))
			assert.Error(t, db.login(t, user, newPassword))
			require.NoError(t, function.process.Signal(syscall.SIGCONT))
			again := start(t, plenty, trusting()).rotate(rotation)
			assert.Equal(t, 200, again.Code, again.Message)
		})
	}
}

func TestEveryWaitEndsBeforeTheDeadline(t *testing.T) {
	onBoth(t, func(t *testing.T, db database) {
		rotation := rotation(t, db)
		for name, c := range map[string]struct {
			host    string
			port    int
			message []string
		}{
			"a host that accepts and never answers": {host: "127.0.0.1", port: silent(t, "127.0.0.1"), message: []string{"no answer after", "security group"}},
			"a port where nothing listens":          {host: "127.0.0.1", port: 1, message: []string{"connect: ", "connection refused"}},
			"a name that does not resolve":          {host: "no-such-host.invalid", port: 5432, message: []string{"connect: ", "resolve"}},
			"packets that are dropped":              {host: "127.0.0.1", port: dropping(t), message: []string{"connect: ", "no answer after", "security group"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				answer := invoke(t, rotation.with("host", c.host).with("port", c.port), 3*time.Second)
				assert.Equal(t, 400, answer.Code)
				for _, part := range append(c.message, "Nothing was changed") {
					assert.Contains(t, answer.Message, part)
				}
			})
		}
	})
}
