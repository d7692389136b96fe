package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"esc-connector-lambda-go/e2e/road"
)

// watchCommands are the words of stories about who hears of a rotation that fails.
var watchCommands = map[string]command{
	"aws-later":           awsLater,
	"aws-topic":           awsTopic,
	"aws-topic-policy":    awsTopicPolicy,
	"esc-delete-webhooks": escDeleteWebhooks,
	"esc-listen":          escListen,
	"esc-told":            escTold,
	"heard":               heard,
	"log-query":           logQuery,
	"webhooks":            webhooks,
}

// aws-topic NAME [account=ID] [key=ALIAS] makes an SNS topic, of which $TOPIC is the ARN: in another account, or encrypted with a key.
func awsTopic(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	options := map[string]string{"account": of(ts).cloud.Account}
	for _, option := range args[1:] {
		name, value, _ := strings.Cut(option, "=")
		options[name] = value
	}
	arn, err := of(ts).cloud.AWS.AddTopic(ctx, road.Region, options["account"], args[0], options["key"])
	ts.Check(err)
	ts.Setenv("TOPIC", arn)
}

// aws-topic-policy FILE gives the topic $TOPIC the policy in the file.
func awsTopicPolicy(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ts.Check(of(ts).cloud.AWS.SetTopic(ctx, ts.Getenv("TOPIC"), "Policy", ts.ReadFile(args[0])))
}

// aws-later DURATION lets that time pass in AWS: rules run when they are due, and CloudWatch looks at its alarms.
func awsLater(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	passes, err := time.ParseDuration(args[0])
	ts.Check(err)
	ts.Check(of(ts).cloud.AWS.Pass(ctx, road.Region, passes))
}

// heard prints the messages of alarms since it was asked last, as topics send them by mail: subject and description. What reached no
// topic it prints as the alarm's history has it.
func heard(ts *testscript.TestScript, _ bool, _ []string) {
	aws := of(ts).cloud.AWS
	var lines []string
	for _, notification := range aws.Notifications() {
		var message struct{ AlarmDescription string }
		ts.Check(json.Unmarshal([]byte(notification.Message), &message))
		lines = append(lines, notification.Subject, message.AlarmDescription)
	}
	lines = append(lines, aws.Undelivered()...)
	fmt.Fprint(ts.Stdout(), strings.Join(append(lines, ""), "\n"))
}

var queryPattern = regexp.MustCompile(`Log group: (\S+) Query: (.+) What to do: `)

// log-query FILE asks CloudWatch Logs Insights what an alarm's description in the file tells to ask, and prints what it finds.
func logQuery(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found := queryPattern.FindStringSubmatch(ts.ReadFile(args[0]))
	if found == nil {
		ts.Fatalf("%s holds no query", args[0])
	}
	lines, err := of(ts).cloud.AWS.Query(ctx, road.Region, found[1], found[2])
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), strings.Join(append(lines, ""), "\n"))
}

// listener hears what webhooks send.
type listener struct {
	server *http.Server

	mu   sync.Mutex
	told []string
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	lines := []string{r.Method + " " + r.URL.Path}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "Pulumi-") || name == "Content-Type" {
			lines = append(lines, name+": "+values[0])
		}
	}
	slices.Sort(lines[1:])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = append(l.told, strings.Join(append(lines, string(body)), "\n"))
}

// esc-listen starts a listener for webhooks, at $LISTENER. What is sent to Slack comes there too.
func escListen(ts *testscript.TestScript, _ bool, _ []string) {
	on, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	s := of(ts)
	s.listener = &listener{}
	s.listener.server = &http.Server{Handler: s.listener, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.listener.server.Serve(on) }()
	ts.Defer(func() { _ = s.listener.server.Close() })
	ts.Setenv("LISTENER", "http://"+on.Addr().String())
	s.cloud.ESC.Listen("hooks.slack.com", on.Addr().String())
}

// esc-told prints what the listener was told since it was asked last: where, headers, body.
func escTold(ts *testscript.TestScript, _ bool, _ []string) {
	l := of(ts).listener
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprint(ts.Stdout(), strings.Join(append(l.told, ""), "\n"))
	l.told = nil
}

// webhooks ENVIRONMENT prints the environment's webhooks for rotations that fail, a line each: the format, the URL.
func webhooks(ts *testscript.TestScript, _ bool, args []string) {
	urls := of(ts).cloud.ESC.WebhookURLs(of(ts).cloud.Organization() + "/" + args[0])
	fmt.Fprint(ts.Stdout(), strings.Join(append(urls, ""), "\n"))
}

// esc-delete-webhooks ENVIRONMENT deletes its webhooks, as somebody does in the console.
func escDeleteWebhooks(ts *testscript.TestScript, _ bool, args []string) {
	of(ts).cloud.ESC.DeleteWebhooks(of(ts).cloud.Organization() + "/" + args[0])
}
