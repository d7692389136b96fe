package main

import (
	"bufio"
	"context"
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
	"syscall"
	"time"
)

// functionTimeout is the function's, as the program sets it.
const functionTimeout = 30 * time.Second

// worker is one process of a function, and the Lambda Runtime API that it talks to (the AWS manual's "Using the Lambda
// runtime API for custom runtimes"). It does nothing else, so that it costs little beside what is measured.
type worker struct {
	command  *exec.Cmd
	listener net.Listener
	started  time.Time
	ready    chan time.Time // when the process first asked for an event
	events   chan []byte
	answers  chan []byte
	exited   chan struct{}
}

// startWorker runs the executable with the variables and nothing else of this process's environment.
func startWorker(bootstrap string, variables ...string) (*worker, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a Runtime API: %w", err)
	}
	w := &worker{
		command: exec.Command(bootstrap), listener: listener, ready: make(chan time.Time, 1),
		events: make(chan []byte), answers: make(chan []byte, 1), exited: make(chan struct{}),
	}
	api := http.NewServeMux()
	api.HandleFunc("GET /2018-06-01/runtime/invocation/next", w.next)
	api.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", w.respond)
	go func() { _ = http.Serve(listener, api) }()
	w.command.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + listener.Addr().String(), "LAMBDA_TASK_ROOT=" + filepath.Dir(bootstrap),
		"AWS_LAMBDA_FUNCTION_NAME=bench", "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256", "AWS_REGION=us-west-2",
	}, variables...)
	w.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	w.started = time.Now()
	if err := w.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a function: %w", err), listener.Close())
	}
	go func() {
		_ = w.command.Wait()
		_ = listener.Close()
		close(w.exited)
	}()
	return w, nil
}

func (w *worker) next(response http.ResponseWriter, r *http.Request) {
	select {
	case w.ready <- time.Now():
	default:
	}
	select {
	case event := <-w.events:
		header := response.Header()
		header.Set("Lambda-Runtime-Aws-Request-Id", "00000000-0000-0000-0000-000000000000")
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(time.Now().Add(functionTimeout).UnixMilli(), 10))
		_, _ = response.Write(event)
	case <-w.exited:
	case <-r.Context().Done():
	}
}

func (w *worker) respond(response http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		w.answers <- body
	}
	response.WriteHeader(http.StatusAccepted)
}

// untilReady waits for the process to ask for an event, and is the time from its start to then.
func (w *worker) untilReady(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, functionTimeout)
	defer cancel()
	select {
	case at := <-w.ready:
		return at.Sub(w.started), nil
	case <-w.exited:
		return 0, fmt.Errorf("starting a function: it ended at once: %s", w.command.ProcessState)
	case <-ctx.Done():
		return 0, fmt.Errorf("starting a function: %w", ctx.Err())
	}
}

// rotate has the process answer the event, and is the time that it took. An answer other than code 200 is an error.
func (w *worker) rotate(ctx context.Context, event []byte) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, functionTimeout)
	defer cancel()
	began := time.Now()
	select {
	case w.events <- event:
	case <-w.exited:
		return 0, fmt.Errorf("rotating: the function ended: %s", w.command.ProcessState)
	case <-ctx.Done():
		return 0, fmt.Errorf("rotating: the function asked for no event: %w", ctx.Err())
	}
	select {
	case body := <-w.answers:
		took := time.Since(began)
		var answer struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Error   string `json:"errorMessage"` // of a function error
		}
		if err := json.Unmarshal(body, &answer); err != nil {
			return took, fmt.Errorf("reading the function's answer: %w", err)
		}
		if answer.Code != 200 {
			return took, fmt.Errorf("rotating: the function answered %d: %s%s", answer.Code, answer.Message, answer.Error)
		}
		return took, nil
	case <-w.exited:
		return 0, fmt.Errorf("rotating: the function ended: %s", w.command.ProcessState)
	case <-ctx.Done():
		return 0, fmt.Errorf("rotating: the function gave no answer: %w", ctx.Err())
	}
}

func (w *worker) stop() {
	_ = w.command.Process.Kill()
	<-w.exited
}

// cpu is the time that the process has worked, to a hundredth of a second (proc(5), /proc/PID/stat, in clock ticks,
// of which Linux tells 100 a second to all programs).
func (w *worker) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading a function's CPU time: %w", err)
	}
	// The command's name, in brackets, may hold spaces. utime and stime are the fields 14 and 15.
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("reading a function's CPU time: /proc/PID/stat has too few fields")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a function's CPU time: %w", err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading a function's CPU time: %w", err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}

// peakMemory is the largest resident size of the process so far, in MB (proc(5), /proc/PID/status).
func (w *worker) peakMemory() (float64, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", w.command.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("reading a function's memory: %w", err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "VmHWM:"); found {
			kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 64)
			return kilobytes * 1024 / 1e6, err
		}
	}
	return 0, errors.New("reading a function's memory: /proc/PID/status has no VmHWM")
}
