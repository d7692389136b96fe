// Command lambda is the rotation connector: a function inside the database's VPC that changes the password of a
// database user when Pulumi ESC asks for it, and proves the new one by a login.
//
// Built with the tags lambda.norpc and nethttpomithttp2 as bootstrap, for the runtime provided.al2023. The event and the
// answer are documented at event.Request and event.Answer, the environment variables at connector.ReadTLS
// and connector.ReadIAM.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"esc-connector-lambda-go/lambda/connector"
	"esc-connector-lambda-go/lambda/event"
	"esc-connector-lambda-go/lambda/mysql"
	"esc-connector-lambda-go/lambda/postgres"
)

func main() {
	lambda.Start(&Handler{Log: slog.New(slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: renameTime})), Engines: engines})
}

// renameTime gives a line's time the name by which Lambda knows it: it takes a line without one for INFO, whatever its level.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
func renameTime(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) == 0 && attribute.Key == slog.TimeKey {
		attribute.Key = "timestamp"
	}
	return attribute
}

// Engine is a kind of database. Rotate changes the password of the request's user and proves it; DryRun looks and changes
// nothing; Prepare creates the request's users, or tells in a dry run what it would make. A second call with the same
// request succeeds again. Each is bounded by its context, and its errors are *connector.Failure, without a secret.
type Engine struct {
	Rotate, DryRun, Prepare func(context.Context, *connector.Server, event.Request) (connector.Outcome, error)
}

var engines = map[string]Engine{
	event.TypePostgres: {postgres.Rotate, postgres.DryRun, postgres.Prepare},
	event.TypeMySQL:    {mysql.Rotate, mysql.DryRun, mysql.Prepare},
}

// Handler answers events.
type Handler struct {
	// Log gets one line an event.
	Log *slog.Logger
	// Engines are what Request.Type chooses from.
	Engines map[string]Engine
}

// Invoke answers one event with an event.Answer. It answers before the deadline of ctx, whether the work has ended or not.
// The error is event.ErrNotAnObject alone.
func (h *Handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	start := time.Now()
	request, err := event.ParseRequest(payload)
	if connector.UsesIAM() && request.ManagingUser != nil {
		request.ManagingUser.Password = event.Secret{} // nobody's: it may be anything
	}
	var result result
	if err == nil {
		result = h.work(ctx, request)
	} else {
		result.failed(connector.StageRequest, err)
	}
	guard := newGuard(request)
	h.log(ctx, request, result, guard, time.Since(start))
	if errors.Is(err, event.ErrNotAnObject) {
		return nil, err
	}
	return json.Marshal(event.Answer{
		Code: result.code, Message: visible(guard.mask(result.message)), Made: result.made, Found: result.found, Warning: visible(guard.mask(result.warning)),
	})
}

// result is what came of an event.
type result struct {
	code    int
	message string
	stage   connector.Stage
	proof   connector.Proof
	note    string
	warning string
	// made and found are names of the event, and nothing else.
	made, found []string
	panic       []string // the kind of its value, and the stack
}

func (r *result) failed(stage connector.Stage, err error) {
	message := err.Error()
	if failure := connector.AsFailure(err); failure != nil {
		stage, message = failure.Stage, failure.Error()
	}
	*r = result{code: 400, message: message, stage: stage, proof: connector.ProofNone}
	if stage == connector.StageProve {
		r.proof = "failed"
	}
}

// work runs the engine against the time that there is, and answers for it when it does not end, or breaks down.
func (h *Handler) work(ctx context.Context, request event.Request) (outcome result) {
	if err := request.Check(); err != nil {
		outcome.failed(connector.StageRequest, err)
		return outcome
	}
	terms, err := connector.ReadTLS()
	if err != nil {
		outcome.failed(connector.StageRequest, err)
		return outcome
	}
	iam, err := connector.ReadIAM(terms)
	if err == nil {
		err = connector.CheckIAM(request, iam)
	}
	if err != nil {
		outcome.failed(connector.StageRequest, err)
		return outcome
	}
	start, bound := time.Now(), connector.NewBound(ctx)
	server := connector.NewServer(request, terms)
	server.IAM = iam
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), bound.Work)
	done := make(chan result, 1)
	go func() {
		defer cancel()
		var ended result
		defer func() {
			if cause := recover(); cause != nil {
				ended.failed(server.Stage(), server.Fail(server.Address()+": the connector broke down, by a defect of its own or by what the server sent",
					"See the function's log for the place"))
				ended.panic = stack(cause)
			}
			server.Close() // what a driver left open when it broke down
			done <- ended
		}()
		engine := h.Engines[request.Type]
		run := engine.Rotate
		switch request.Kind() {
		case event.KindDryRun:
			run = engine.DryRun
		case event.KindPreparation:
			run = engine.Prepare
		}
		found, err := run(ctx, server, request)
		if err != nil {
			ended.failed(server.Stage(), err)
			return
		}
		ended = result{code: 200, message: found.Message, stage: server.Stage(), proof: found.Proof, note: found.Note, warning: server.Warning(),
			made: found.Made, found: found.Found}
	}()
	late := time.NewTimer(time.Until(bound.Answer))
	defer late.Stop()
	select {
	case outcome = <-done:
	case <-late.C:
		server.Close() // first: a change that had not left yet cannot leave after it was said that there was none
		failure := server.Fail(fmt.Sprintf("%s: not done after %s", server.Address(), connector.Seconds(time.Since(start))),
			"Give the function a longer timeout, or find out what the database is busy with")
		outcome.failed(failure.Stage, failure)
	}
	return outcome
}

// stack is where a panic came from, for the log. The panic's value is left out, but for its kind: it may hold anything.
func stack(cause any) []string {
	const skipped, deepest = 4, 32 // runtime.Callers, stack, the deferred function and gopanic come first
	callers := make([]uintptr, deepest)
	frames := runtime.CallersFrames(callers[:runtime.Callers(skipped, callers)])
	places := []string{fmt.Sprintf("%T", cause)}
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		places = append(places, fmt.Sprintf("%s:%d", frame.Function, frame.Line))
	}
	return places
}

// log writes the event's line to the log.
func (h *Handler) log(ctx context.Context, request event.Request, result result, guard guard, took time.Duration) {
	var requestID string
	if lambdaContext, ok := lambdacontext.FromContext(ctx); ok {
		requestID = lambdaContext.AwsRequestID
	}
	var targets []string
	for _, name := range request.Targets() {
		targets = append(targets, event.ShownName(name))
	}
	level, outcome := slog.LevelInfo, "ok"
	if result.code != 200 {
		level, outcome = slog.LevelError, "failed"
	}
	attributes := []slog.Attr{
		slog.String("requestId", requestID), slog.String("event", request.Kind()), slog.String("stage", string(result.stage)),
		slog.String("engine", event.ShownName(request.Type)), slog.String("host", event.ShownHost(request.Host)), slog.Int("port", request.Port),
		slog.String("database", event.ShownName(request.Database)), slog.String("targetUser", strings.Join(targets, ", ")), slog.Bool("dryRun", request.DryRun),
		slog.Int64("durationMs", took.Milliseconds()), slog.String("result", outcome), slog.String("proof", string(result.proof)),
	}
	if result.message != "ok" {
		attributes = append(attributes, slog.String("message", guard.mask(result.message)))
	}
	if result.note != "" {
		attributes = append(attributes, slog.String("note", guard.mask(result.note)))
	}
	if result.warning != "" {
		attributes = append(attributes, slog.String("warning", guard.mask(result.warning)))
	}
	if result.panic != nil {
		attributes = append(attributes, slog.Any("panic", result.panic))
	}
	h.Log.LogAttrs(ctx, level, "rotation", attributes...)
}
