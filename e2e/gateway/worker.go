package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// worker is one execution environment: a process of the function and the
// Runtime API that it talks to. It serves one event at a time and is frozen in between.
// The protocol is in the AWS manual's "Using the Lambda runtime API for custom runtimes".
type worker struct {
	function *function
	command  *exec.Cmd
	listener net.Listener
	exited   chan struct{}

	events  chan event
	answers chan outcome
	current chan string // the request id of the event in work

	printed *os.File // the end of the process's output that is read

	mu     sync.Mutex
	output bytes.Buffer
}

type event struct {
	requestID string
	payload   []byte
	deadline  time.Time
}

type outcome struct {
	requestID     string
	payload       []byte
	functionError string
	log           string
}

// run has a free worker, or a new one, answer the event within the function's timeout.
func (f *functions) run(ctx context.Context, function *function, payload []byte) outcome {
	requestID := newRequestID()
	started := time.Now()
	answer := outcome{requestID: requestID}
	w, err := f.takeWorker(function)
	if err != nil {
		answer.functionError = "Unhandled"
		answer.payload = errorPayload("Runtime.InvalidEntrypoint", "RequestId: "+requestID+" Error: "+err.Error())
		return answer
	}
	timeout := time.Duration(function.made.Timeout) * time.Second
	timer := time.NewTimer(timeout)
	defer timer.Stop()

	w.thaw()
	reusable := false
	select {
	case w.events <- event{requestID: requestID, payload: payload, deadline: started.Add(timeout)}:
		select {
		case got := <-w.answers:
			answer.payload, answer.functionError, reusable = got.payload, got.functionError, true
		case <-w.exited:
			answer.functionError = "Unhandled"
			answer.payload = w.exitPayload(requestID)
		case <-timer.C:
			answer.functionError = "Unhandled"
			answer.payload = timeoutPayload(requestID, function.made.Timeout)
		}
	case <-w.exited:
		answer.functionError = "Unhandled"
		answer.payload = w.exitPayload(requestID)
	case <-timer.C:
		answer.functionError = "Unhandled"
		answer.payload = timeoutPayload(requestID, function.made.Timeout)
	}

	peak := w.peakMemory()
	if peak > int64(function.made.MemorySize)<<20 {
		reusable = false
		answer.functionError = "Unhandled"
		answer.payload = errorPayload("Runtime.OutOfMemory", "RequestId: "+requestID+" Error: Runtime exited with error: signal: killed")
	}
	if reusable && f.loseAnswer.Swap(false) {
		w.kill()
		reusable = false
		answer.functionError = "Unhandled"
		answer.payload = w.exitPayload(requestID)
	}
	answer.log = w.takeOutput()
	f.gateway.watcher.invoked(function.FunctionName, answer.functionError != "")
	f.writeLog(ctx, function, answer, time.Since(started), peak)
	if reusable {
		w.freeze()
		function.mu.Lock()
		delete(function.running, w)
		function.idle = append(function.idle, w)
		function.mu.Unlock()
	} else {
		w.kill()
		function.mu.Lock()
		delete(function.running, w)
		function.mu.Unlock()
	}
	return answer
}

func (f *functions) takeWorker(function *function) (*worker, error) {
	function.mu.Lock()
	defer function.mu.Unlock()
	if n := len(function.idle); n > 0 {
		w := function.idle[n-1]
		function.idle = function.idle[:n-1]
		function.running[w] = true
		return w, nil
	}
	w, err := f.startWorker(function)
	if err == nil {
		function.running[w] = true
	}
	return w, err
}

// stop ends all workers: AWS starts new ones after any change of a function.
func (fn *function) stop() {
	fn.mu.Lock()
	defer fn.mu.Unlock()
	for _, w := range fn.idle {
		w.kill()
	}
	for w := range fn.running {
		w.kill()
	}
	fn.idle, fn.running = nil, map[*worker]bool{}
}

func (f *functions) startWorker(function *function) (*worker, error) {
	bootstrap := filepath.Join(function.made.folder, "bootstrap")
	info, err := os.Stat(bootstrap)
	if err != nil {
		return nil, refusal("Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]")
	}
	if info.Mode()&0o111 == 0 {
		return nil, refusal("fork/exec /var/task/bootstrap: permission denied")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the Runtime API: %w", err)
	}
	w := &worker{
		function: function, listener: listener, exited: make(chan struct{}),
		events: make(chan event), answers: make(chan outcome, 1), current: make(chan string, 1),
	}
	api := http.NewServeMux()
	api.HandleFunc("GET /2018-06-01/runtime/invocation/next", w.next)
	api.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", w.respond)
	api.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", w.fail)
	api.HandleFunc("POST /2018-06-01/runtime/init/error", w.fail)
	go func() { _ = http.Serve(listener, api) }()

	w.command = exec.Command(bootstrap)
	w.command.Dir = function.made.folder
	w.command.Env = f.environment(function, listener.Addr().String())
	w.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.start(); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("starting the function: %w", err)
	}
	go func() {
		_ = w.command.Wait()
		_ = listener.Close()
		close(w.exited)
	}()
	return w, nil
}

// environment is what Lambda gives a custom runtime, from the AWS manual's
// "Defined runtime environment variables". Nothing of this process's own passes.
func (f *functions) environment(function *function, api string) []string {
	accessKey, credentials := f.gateway.logins.give(function)
	environment := []string{
		"AWS_ACCESS_KEY_ID=" + accessKey,
		"AWS_SECRET_ACCESS_KEY=" + credentials.secret,
		"AWS_SESSION_TOKEN=" + credentials.session,
		"AWS_LAMBDA_RUNTIME_API=" + api,
		"LAMBDA_TASK_ROOT=" + function.made.folder,
		"LAMBDA_RUNTIME_DIR=/var/runtime",
		"_HANDLER=bootstrap",
		"AWS_REGION=" + function.region,
		"AWS_DEFAULT_REGION=" + function.region,
		"AWS_LAMBDA_FUNCTION_NAME=" + function.FunctionName,
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=" + strconv.Itoa(function.made.MemorySize),
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"PATH=/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
	}
	if f.gateway.options.SystemCAs != "" && !f.publicCAs.Load() {
		environment = append(environment, "SSL_CERT_FILE="+f.gateway.options.SystemCAs)
	}
	for name, value := range function.made.Environment.Variables {
		environment = append(environment, name+"="+value)
	}
	return environment
}

func (w *worker) next(response http.ResponseWriter, r *http.Request) {
	select {
	case event := <-w.events:
		w.current <- event.requestID
		header := response.Header()
		header.Set("Content-Type", "application/json")
		header.Set("Lambda-Runtime-Aws-Request-Id", event.requestID)
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(event.deadline.UnixMilli(), 10))
		header.Set("Lambda-Runtime-Invoked-Function-Arn", w.function.arn)
		header.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
		_, _ = response.Write(event.payload)
	case <-w.exited:
	case <-r.Context().Done():
	}
}

func (w *worker) respond(response http.ResponseWriter, r *http.Request) {
	w.answer(response, r, "")
}

func (w *worker) fail(response http.ResponseWriter, r *http.Request) {
	w.answer(response, r, "Unhandled")
}

func (w *worker) answer(response http.ResponseWriter, r *http.Request, functionError string) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case id := <-w.current:
		if r.PathValue("id") != "" && r.PathValue("id") != id {
			http.Error(response, "that is not the request in work", http.StatusBadRequest)
			return
		}
	default:
	}
	select {
	case w.answers <- outcome{payload: body, functionError: functionError}:
		response.WriteHeader(http.StatusAccepted)
	default:
		http.Error(response, "the request has its answer already", http.StatusForbidden)
	}
}

// start runs the process, and reads what it prints so that it never waits for a reader.
func (w *worker) start() error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	w.printed, w.command.Stdout, w.command.Stderr = read, write, write
	err = errors.Join(w.command.Start(), write.Close())
	if err != nil {
		return errors.Join(err, read.Close())
	}
	pipe, err := read.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		_ = pipe.Read(func(fd uintptr) (ended bool) { return !w.collect(fd) })
		_ = read.Close()
	}()
	return nil
}

// collect takes what has been printed and not read yet. It reports whether there may be more later.
func (w *worker) collect(fd uintptr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	chunk := make([]byte, 4096)
	for {
		n, err := syscall.Read(int(fd), chunk)
		switch {
		case n > 0:
			_, _ = w.output.Write(chunk[:n])
		case errors.Is(err, syscall.EINTR):
		default:
			return errors.Is(err, syscall.EAGAIN)
		}
	}
}

// takeOutput is all that the process has printed before it answered, also what nobody has read yet.
func (w *worker) takeOutput() string {
	if pipe, err := w.printed.SyscallConn(); err == nil {
		_ = pipe.Control(func(fd uintptr) { w.collect(fd) }) // an error is that it is closed, and so read to its end
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.output.String()
	w.output.Reset()
	return text
}

func (w *worker) freeze() { _ = w.command.Process.Signal(syscall.SIGSTOP) }
func (w *worker) thaw()   { _ = w.command.Process.Signal(syscall.SIGCONT) }

func (w *worker) kill() {
	_ = w.command.Process.Kill()
	<-w.exited
}

// peakMemory is the process's highest resident size in bytes, from proc(5); 0 when it is gone.
func (w *worker) peakMemory() int64 {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", w.command.Process.Pid))
	if err != nil {
		return 0
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err == nil {
				return kilobytes << 10
			}
		}
	}
	return 0
}

// writeLog keeps an invocation's lines in CloudWatch Logs, as far as the
// execution role allows; where it does not, AWS drops them too.
func (f *functions) writeLog(ctx context.Context, function *function, answer outcome, took time.Duration, peak int64) {
	client, group, err := f.logs(ctx, function)
	if err != nil {
		return
	}
	stream := time.Now().UTC().Format("2006/01/02/[$LATEST]") + answer.requestID
	if _, err := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{
		LogGroupName: &group, LogStreamName: &stream,
	}); err != nil {
		return
	}
	first, last := platformLines(function, answer, took, peak)
	lines := []string{first}
	for line := range strings.Lines(answer.log) {
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	lines = append(lines, last)
	var events []logtypes.InputLogEvent
	now := time.Now().UnixMilli()
	for _, line := range lines {
		events = append(events, logtypes.InputLogEvent{Message: awssdk.String(line), Timestamp: &now})
	}
	_, err = client.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream, LogEvents: events})
	if err == nil {
		f.gateway.watcher.ingest(ctx, function.region, group, lines)
	}
}

// platformLines are Lambda's own, before and after those of the function. In the log format JSON they are objects
// (https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html), as the Telemetry API's schema has them
// (https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html).
func platformLines(function *function, answer outcome, took time.Duration, peak int64) (first, last string) {
	milliseconds := float64(took.Microseconds()) / 1000
	var logging struct{ LogFormat string }
	if json.Unmarshal(function.made.LoggingConfig, &logging) != nil || logging.LogFormat != "JSON" {
		return "START RequestId: " + answer.requestID + " Version: $LATEST", fmt.Sprintf(
			"REPORT RequestId: %s\tDuration: %.2f ms\tMemory Size: %d MB\tMax Memory Used: %d MB", answer.requestID, milliseconds, function.made.MemorySize, peak>>20)
	}
	line := func(kind string, record map[string]any) string {
		record["requestId"] = answer.requestID
		text, _ := json.Marshal(map[string]any{"time": time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), "type": kind, "record": record})
		return string(text)
	}
	report := map[string]any{"status": "success", "metrics": map[string]any{
		"durationMs": milliseconds, "memorySizeMB": function.made.MemorySize, "maxMemoryUsedMB": peak >> 20}}
	if answer.functionError != "" {
		var thrown struct{ ErrorType string }
		_ = json.Unmarshal(answer.payload, &thrown)
		report["status"], report["errorType"] = "error", thrown.ErrorType
		if thrown.ErrorType == "Sandbox.Timedout" {
			report["status"] = "timeout"
		}
	}
	return line("platform.start", map[string]any{"version": "$LATEST"}), line("platform.report", report)
}

func timeoutPayload(requestID string, seconds int) []byte {
	return errorPayload("Sandbox.Timedout", fmt.Sprintf("RequestId: %s Error: Task timed out after %d.00 seconds", requestID, seconds))
}

// exitPayload is the answer for a process that has ended.
func (w *worker) exitPayload(requestID string) []byte {
	return errorPayload("Runtime.ExitError",
		"RequestId: "+requestID+" Error: Runtime exited with error: "+w.command.ProcessState.String())
}

func errorPayload(kind, message string) []byte {
	payload, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": message})
	return payload
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
