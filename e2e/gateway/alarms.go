package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	alarmtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventtypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"esc-connector-lambda-go/e2e/policy"
)

// watcher plays what makes an alarm of a line in a log: metric filters, metrics, alarms, and the topics that hear of them. moto keeps
// the filters, alarms and topics. What follows from them is made here, by a clock that [Gateway.Pass] moves on.
type watcher struct {
	gateway *Gateway

	mu     sync.Mutex
	ahead  time.Duration // of this machine's clock
	points map[string][]point
	states map[string]alarmtypes.StateValue // by the alarm's name
	ran    map[string]time.Time             // when a scheduled rule ran last, by its ARN
	heard  []Notification
	lost   []string
}

// point is a value of a metric.
type point struct {
	at    time.Time
	value float64
}

// Notification is a message that a topic has sent to those who have subscribed to it.
type Notification struct{ Topic, Subject, Message string }

func newWatcher(g *Gateway) *watcher {
	return &watcher{gateway: g, points: map[string][]point{}, states: map[string]alarmtypes.StateValue{}, ran: map[string]time.Time{}}
}

// Notifications are the messages that topics have sent since this was asked last.
func (g *Gateway) Notifications() []Notification {
	g.watcher.mu.Lock()
	defer g.watcher.mu.Unlock()
	heard := g.watcher.heard
	g.watcher.heard = nil
	return heard
}

// Undelivered are the reasons why messages of alarms reached no topic, as their history has them, since this was asked last.
func (g *Gateway) Undelivered() []string {
	g.watcher.mu.Lock()
	defer g.watcher.mu.Unlock()
	lost := g.watcher.lost
	g.watcher.lost = nil
	return lost
}

func (w *watcher) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

// metricKey names a metric: its dimensions are part of its name.
func metricKey(namespace, name string, dimensions map[string]string) string {
	key := namespace + "\x00" + name
	for _, dimension := range slices.Sorted(maps.Keys(dimensions)) {
		key += "\x00" + dimension + "=" + dimensions[dimension]
	}
	return key
}

func (w *watcher) add(namespace, name string, dimensions map[string]string, value float64) {
	at := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	key := metricKey(namespace, name, dimensions)
	w.points[key] = append(w.points[key], point{at, value})
}

// invoked counts an invocation that has run, as Lambda does:
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
func (w *watcher) invoked(function string, failed bool) {
	value := 0.0
	if failed {
		value = 1
	}
	w.add("AWS/Lambda", "Errors", map[string]string{"FunctionName": function}, value)
}

// ingest gives the lines that have come to a log group to its metric filters.
func (w *watcher) ingest(ctx context.Context, region, group string, lines []string) {
	found, err := cloudwatchlogs.NewFromConfig(w.gateway.functions.config(region)).DescribeMetricFilters(ctx,
		&cloudwatchlogs.DescribeMetricFiltersInput{LogGroupName: &group})
	if err != nil {
		panic(fmt.Sprintf("listing the metric filters of %s: %v", group, err))
	}
	for _, filter := range found.MetricFilters {
		pattern, err := parsePattern(awssdk.ToString(filter.FilterPattern))
		if err != nil {
			panic(err) // putMetricFilter has let it pass
		}
		t := filter.MetricTransformations[0]
		matched := false
		for _, line := range lines {
			var event map[string]any
			if json.Unmarshal([]byte(line), &event) != nil || !pattern.matches(event) {
				continue
			}
			matched = true
			// A line that lacks the field of a dimension is counted nowhere.
			dimensions, complete := map[string]string{}, true
			for name, selector := range t.Dimensions {
				value, _ := event[strings.TrimPrefix(selector, "$.")].(string)
				dimensions[name], complete = value, complete && value != ""
			}
			if value, err := strconv.ParseFloat(awssdk.ToString(t.MetricValue), 64); err == nil && complete {
				w.add(awssdk.ToString(t.MetricNamespace), awssdk.ToString(t.MetricName), dimensions, value)
			}
		}
		if !matched && t.DefaultValue != nil {
			w.add(awssdk.ToString(t.MetricNamespace), awssdk.ToString(t.MetricName), nil, *t.DefaultValue)
		}
	}
}

// pattern is a filter pattern for lines in JSON, as far as this project has them, with terms that are all joined by && or all by ||:
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
type pattern struct {
	any   bool
	terms []term
}

type term struct{ field, operator, value string }

var termPattern = regexp.MustCompile(`^\$\.([A-Za-z0-9_]+) *(?:(=|!=) *(\*|"[^"]*")|(IS TRUE|IS FALSE|NOT EXISTS))$`)

func parsePattern(text string) (pattern, error) {
	inner, begins := strings.CutPrefix(strings.TrimSpace(text), "{")
	inner, ends := strings.CutSuffix(inner, "}")
	if !begins || !ends {
		return pattern{}, fmt.Errorf("the filter pattern %q is none for JSON, and the stand-in knows no other", text)
	}
	parsed, joint := pattern{}, "&&"
	if strings.Contains(inner, "||") {
		parsed.any, joint = true, "||"
	}
	for part := range strings.SplitSeq(inner, joint) {
		part = strings.TrimSpace(part)
		if begun, with := strings.CutPrefix(part, "("); with {
			part = strings.TrimSpace(strings.TrimSuffix(begun, ")"))
		}
		found := termPattern.FindStringSubmatch(part)
		if found == nil {
			return pattern{}, fmt.Errorf("the stand-in does not know %q in the filter pattern %q", part, text)
		}
		parsed.terms = append(parsed.terms, term{found[1], cmp.Or(found[2], found[4]), strings.Trim(found[3], `"`)})
	}
	return parsed, nil
}

func (p pattern) matches(event map[string]any) bool {
	for _, term := range p.terms {
		if term.matches(event) == p.any {
			return p.any
		}
	}
	return !p.any
}

func (t term) matches(event map[string]any) bool {
	value, there := event[t.field]
	switch t.operator {
	case "NOT EXISTS":
		return !there
	case "IS TRUE", "IS FALSE":
		return value == (t.operator == "IS TRUE")
	}
	if !there {
		return false
	}
	wanted := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(t.value), `\*`, ".*") + "$")
	return wanted.MatchString(fmt.Sprint(value)) == (t.operator == "=")
}

// serveLogs plays what moto lacks of metric filters, and queries of logs. It reports whether it has answered.
func (w *watcher) serveLogs(response http.ResponseWriter, r *http.Request, action string, body []byte) bool {
	var request struct {
		FilterName, LogGroupName, FilterPattern string
		MetricTransformations                   []struct {
			DefaultValue *float64
			Dimensions   map[string]string
		}
	}
	if json.Unmarshal(body, &request) != nil {
		return false
	}
	client := cloudwatchlogs.NewFromConfig(w.gateway.functions.config(regionOf(r)))
	switch action {
	case "FilterLogEvents":
		return w.filterLogEvents(response, r, body, request.FilterPattern)
	case "PutMetricFilter":
		if w.refuseFilter(response, r, client, request.LogGroupName, request.FilterPattern, len(request.MetricTransformations) == 1 &&
			request.MetricTransformations[0].DefaultValue != nil && len(request.MetricTransformations[0].Dimensions) > 0) {
			return true
		}
		// moto would keep the old one beside it.
		_, _ = client.DeleteMetricFilter(r.Context(), &cloudwatchlogs.DeleteMetricFilterInput{FilterName: &request.FilterName, LogGroupName: &request.LogGroupName})
	case "DeleteMetricFilter":
		if !w.hasFilter(r.Context(), client, request.LogGroupName, request.FilterName) {
			lambdaError(response, http.StatusBadRequest, "ResourceNotFoundException", "The specified metric filter does not exist.")
			return true
		}
	case "DescribeMetricFilters":
		if request.LogGroupName != "" && !hasGroup(r.Context(), client, request.LogGroupName) {
			lambdaError(response, http.StatusBadRequest, "ResourceNotFoundException", "The specified log group does not exist.")
			return true
		}
	case "DeleteLogGroup": // with its filters
		found, err := client.DescribeMetricFilters(r.Context(), &cloudwatchlogs.DescribeMetricFiltersInput{LogGroupName: &request.LogGroupName})
		if err == nil {
			for _, filter := range found.MetricFilters {
				_, _ = client.DeleteMetricFilter(r.Context(), &cloudwatchlogs.DeleteMetricFilterInput{FilterName: filter.FilterName, LogGroupName: filter.LogGroupName})
			}
		}
	}
	return false
}

// filterLogEvents keeps of moto's answer what a pattern for JSON matches, which moto does not know. It reports whether it has answered.
func (w *watcher) filterLogEvents(response http.ResponseWriter, r *http.Request, body []byte, text string) bool {
	wanted, err := parsePattern(text)
	var request map[string]any
	if err != nil || json.Unmarshal(body, &request) != nil {
		return false // moto's to answer
	}
	delete(request, "filterPattern")
	without, err := json.Marshal(request)
	if err != nil {
		return false
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(without)), int64(len(without))
	recorder := httptest.NewRecorder()
	w.gateway.moto.ServeHTTP(recorder, r)
	var answer map[string]any
	if recorder.Code >= 300 || json.Unmarshal(recorder.Body.Bytes(), &answer) != nil {
		maps.Copy(response.Header(), recorder.Header())
		response.WriteHeader(recorder.Code)
		_, _ = response.Write(recorder.Body.Bytes())
		return true
	}
	events, _ := answer["events"].([]any)
	answer["events"] = slices.DeleteFunc(events, func(event any) bool {
		line, _ := event.(map[string]any)["message"].(string)
		var object map[string]any
		return json.Unmarshal([]byte(line), &object) != nil || !wanted.matches(object)
	})
	response.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(response).Encode(answer)
	return true
}

// refuseFilter reports whether it has refused a filter: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html,
// and the words of AWS's that people report:
// https://github.com/aws-solutions-library-samples/guidance-for-claude-code-with-amazon-bedrock/pull/632
func (w *watcher) refuseFilter(response http.ResponseWriter, r *http.Request, client *cloudwatchlogs.Client, group, text string, both bool) bool {
	_, err := parsePattern(text)
	switch {
	case !hasGroup(r.Context(), client, group):
		lambdaError(response, http.StatusBadRequest, "ResourceNotFoundException", "The specified log group does not exist.")
	case err != nil:
		lambdaError(response, http.StatusBadRequest, "InvalidParameterException", err.Error())
	case both:
		lambdaError(response, http.StatusBadRequest, "InvalidParameterException",
			"Invalid metric transformation: dimensions and default value are mutually exclusive properties.")
	default:
		return false
	}
	return true
}

func hasGroup(ctx context.Context, client *cloudwatchlogs.Client, name string) bool {
	found, err := client.DescribeLogGroups(ctx, &cloudwatchlogs.DescribeLogGroupsInput{LogGroupNamePrefix: &name})
	return err == nil && slices.ContainsFunc(found.LogGroups, func(group logtypes.LogGroup) bool { return awssdk.ToString(group.LogGroupName) == name })
}

func (w *watcher) hasFilter(ctx context.Context, client *cloudwatchlogs.Client, group, name string) bool {
	found, err := client.DescribeMetricFilters(ctx, &cloudwatchlogs.DescribeMetricFiltersInput{LogGroupName: &group, FilterNamePrefix: &name})
	return err == nil && slices.ContainsFunc(found.MetricFilters, func(filter logtypes.MetricFilter) bool { return awssdk.ToString(filter.FilterName) == name })
}

// serveAlarms lets moto answer, and sees to it that an alarm keeps its state when it is changed, which moto forgets, and that a state that
// somebody sets is heard of.
func (w *watcher) serveAlarms(response http.ResponseWriter, r *http.Request, action string) {
	recorder := httptest.NewRecorder()
	w.gateway.moto.ServeHTTP(recorder, r)
	maps.Copy(response.Header(), recorder.Header())
	ctx, region := context.WithoutCancel(r.Context()), regionOf(r)
	if recorder.Code < 300 {
		switch action {
		case "PutMetricAlarm":
			w.keepStates(ctx, region)
		case "SetAlarmState":
			w.noticeStates(ctx, region)
		case "DeleteAlarms":
			w.forgetStates(ctx, region)
		}
	}
	response.WriteHeader(recorder.Code)
	_, _ = response.Write(recorder.Body.Bytes())
}

func (w *watcher) alarms(ctx context.Context, region string) ([]alarmtypes.MetricAlarm, *cloudwatch.Client) {
	client := cloudwatch.NewFromConfig(w.gateway.functions.config(region))
	found, err := client.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{})
	if err != nil {
		panic(fmt.Sprintf("listing the alarms: %v", err))
	}
	return found.MetricAlarms, client
}

func (w *watcher) state(alarm string) alarmtypes.StateValue {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.states[alarm], alarmtypes.StateValueInsufficientData)
}

// keepStates gives alarms that were overwritten their state back.
func (w *watcher) keepStates(ctx context.Context, region string) {
	alarms, client := w.alarms(ctx, region)
	for _, alarm := range alarms {
		if was := w.state(*alarm.AlarmName); was != alarm.StateValue {
			setState(ctx, client, alarm, was, "Unchecked: Initial alarm creation")
		}
	}
}

func setState(ctx context.Context, client *cloudwatch.Client, alarm alarmtypes.MetricAlarm, state alarmtypes.StateValue, reason string) {
	_, err := client.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: alarm.AlarmName, StateValue: state, StateReason: &reason})
	if err != nil {
		panic(fmt.Sprintf("setting the state of the alarm %s: %v", *alarm.AlarmName, err))
	}
}

// noticeStates tells of the states that somebody has set. The next evaluation sets the true one again.
func (w *watcher) noticeStates(ctx context.Context, region string) {
	alarms, _ := w.alarms(ctx, region)
	for _, alarm := range alarms {
		if w.state(*alarm.AlarmName) != alarm.StateValue {
			w.change(ctx, alarm, alarm.StateValue, awssdk.ToString(alarm.StateReason))
		}
	}
}

func (w *watcher) forgetStates(ctx context.Context, region string) {
	alarms, _ := w.alarms(ctx, region)
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.states, func(name string, _ alarmtypes.StateValue) bool {
		return !slices.ContainsFunc(alarms, func(alarm alarmtypes.MetricAlarm) bool { return *alarm.AlarmName == name })
	})
}

// Pass lets that time pass in a region: scheduled rules run when it is their time, and CloudWatch looks at the alarms each minute.
func (g *Gateway) Pass(ctx context.Context, region string, passing time.Duration) error {
	w := g.watcher
	rules, err := eventbridge.NewFromConfig(g.functions.config(region)).ListRules(ctx, &eventbridge.ListRulesInput{})
	if err != nil {
		return fmt.Errorf("listing the scheduled rules: %w", err)
	}
	alarms, client := w.alarms(ctx, region)
	for _, rule := range rules.Rules {
		w.mu.Lock()
		if _, known := w.ran[*rule.Arn]; !known {
			w.ran[*rule.Arn] = time.Now().Add(w.ahead)
		}
		w.mu.Unlock()
	}
	for end := w.now().Add(passing); w.now().Before(end); {
		w.mu.Lock()
		w.ahead += min(time.Minute, end.Sub(time.Now().Add(w.ahead)))
		w.mu.Unlock()
		for _, rule := range rules.Rules {
			if err := w.runIfDue(ctx, rule); err != nil {
				return err
			}
		}
		for _, alarm := range alarms {
			state, reason := w.evaluate(alarm, w.now())
			if state != w.state(*alarm.AlarmName) {
				setState(ctx, client, alarm, state, reason)
				w.change(ctx, alarm, state, reason)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

var ratePattern = regexp.MustCompile(`^rate\((\d+) (minute|hour|day)s?\)$`)

// runIfDue runs a rule that has not run for its time. That its function cannot be invoked is nobody's to hear.
func (w *watcher) runIfDue(ctx context.Context, rule eventtypes.Rule) error {
	if rule.ScheduleExpression == nil || rule.State != eventtypes.RuleStateEnabled {
		return nil
	}
	found := ratePattern.FindStringSubmatch(*rule.ScheduleExpression)
	if found == nil {
		return fmt.Errorf("the stand-in knows no schedule %s", *rule.ScheduleExpression)
	}
	number, err := strconv.Atoi(found[1])
	if err != nil {
		return err
	}
	rate := time.Duration(number) * map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[found[2]]
	now := w.now()
	w.mu.Lock()
	due := now.Sub(w.ran[*rule.Arn]) >= rate
	if due {
		w.ran[*rule.Arn] = now
	}
	w.mu.Unlock()
	if due {
		_, _ = w.gateway.runRule(ctx, rule)
	}
	return nil
}

// lookBack is how many periods more than an alarm evaluates CloudWatch looks for data in. AWS says that it does, and not how many: 5
// where 3 are evaluated, in the manual's example.
const lookBack = 2

// evaluate is the state of an alarm by its metric's data, as
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html tells.
func (w *watcher) evaluate(alarm alarmtypes.MetricAlarm, now time.Time) (alarmtypes.StateValue, string) {
	evaluated := int(awssdk.ToInt32(alarm.EvaluationPeriods))
	data := w.series(alarm, now, evaluated+lookBack)
	if len(data) > evaluated {
		data = data[:evaluated]
	}
	breaching, missing := 0, evaluated-len(data)
	for _, value := range data {
		if breaches(alarm, value) {
			breaching++
		}
	}
	switch awssdk.ToString(alarm.TreatMissingData) {
	case "breaching":
		breaching += missing
	case "notBreaching":
	default: // missing
		if len(data) == 0 {
			return alarmtypes.StateValueInsufficientData, "Insufficient Data"
		}
	}
	needed := int(awssdk.ToInt32(alarm.DatapointsToAlarm))
	if needed == 0 {
		needed = evaluated
	}
	reason := fmt.Sprintf("Threshold Crossed: of %d datapoints, of which %d were missing, %d were breaching", evaluated, missing, breaching)
	if breaching >= needed {
		return alarmtypes.StateValueAlarm, reason
	}
	return alarmtypes.StateValueOk, reason
}

func breaches(alarm alarmtypes.MetricAlarm, value float64) bool {
	threshold := awssdk.ToFloat64(alarm.Threshold)
	switch alarm.ComparisonOperator {
	case alarmtypes.ComparisonOperatorGreaterThanOrEqualToThreshold:
		return value >= threshold
	case alarmtypes.ComparisonOperatorLessThanThreshold:
		return value < threshold
	default:
		panic("the stand-in does not compare by " + string(alarm.ComparisonOperator))
	}
}

var fillPattern = regexp.MustCompile(`^FILL\(([a-z][A-Za-z0-9_]*), *([0-9.]+)\)$`)

// series are the sums of the alarm's metric that there are, the newest first, over that many of its periods.
func (w *watcher) series(alarm alarmtypes.MetricAlarm, now time.Time, periods int) []float64 {
	if len(alarm.Metrics) == 0 {
		dimensions := map[string]string{}
		for _, dimension := range alarm.Dimensions {
			dimensions[*dimension.Name] = *dimension.Value
		}
		sums := w.sums(metricKey(*alarm.Namespace, *alarm.MetricName, dimensions), now, awssdk.ToInt32(alarm.Period), periods)
		return present(sums)
	}
	filled, by := "", 0.0
	for _, query := range alarm.Metrics {
		if awssdk.ToBool(query.ReturnData) {
			found := fillPattern.FindStringSubmatch(awssdk.ToString(query.Expression))
			if found == nil {
				panic("the stand-in does not know the expression " + awssdk.ToString(query.Expression))
			}
			filled = found[1]
			by, _ = strconv.ParseFloat(found[2], 64)
		}
	}
	for _, query := range alarm.Metrics {
		if awssdk.ToString(query.Id) != filled || query.MetricStat == nil {
			continue
		}
		stat := query.MetricStat
		dimensions := map[string]string{}
		for _, dimension := range stat.Metric.Dimensions {
			dimensions[*dimension.Name] = *dimension.Value
		}
		sums := w.sums(metricKey(*stat.Metric.Namespace, *stat.Metric.MetricName, dimensions), now, awssdk.ToInt32(stat.Period), periods)
		if len(present(sums)) == 0 {
			return nil // nothing to fill: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
		}
		for i := range sums {
			if sums[i] == nil {
				sums[i] = &by
			}
		}
		return present(sums)
	}
	panic("the alarm " + *alarm.AlarmName + " evaluates no metric")
}

func present(sums []*float64) []float64 {
	var values []float64
	for _, sum := range sums {
		if sum != nil {
			values = append(values, *sum)
		}
	}
	return values
}

// sums are those of a metric's values in each period back from now. Where there was none there is no sum.
func (w *watcher) sums(metric string, now time.Time, period int32, periods int) []*float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	sums := make([]*float64, periods)
	for _, point := range w.points[metric] {
		i := int(now.Sub(point.at) / (time.Duration(period) * time.Second))
		if i < 0 || i >= periods {
			continue
		}
		if sums[i] == nil {
			sums[i] = new(float64)
		}
		*sums[i] += point.value
	}
	return sums
}

// change notes the alarm's new state, and tells the topics that hear of it.
func (w *watcher) change(ctx context.Context, alarm alarmtypes.MetricAlarm, state alarmtypes.StateValue, reason string) {
	was := w.state(*alarm.AlarmName)
	w.mu.Lock()
	w.states[*alarm.AlarmName] = state
	w.mu.Unlock()
	if !awssdk.ToBool(alarm.ActionsEnabled) {
		return
	}
	actions := map[alarmtypes.StateValue][]string{
		alarmtypes.StateValueAlarm: alarm.AlarmActions, alarmtypes.StateValueOk: alarm.OKActions,
		alarmtypes.StateValueInsufficientData: alarm.InsufficientDataActions,
	}[state]
	for _, topic := range actions {
		refused := w.publish(ctx, topic, alarm, was, state, reason)
		w.mu.Lock()
		if refused != nil {
			w.lost = append(w.lost, fmt.Sprintf("Failed to execute action %s. Received error: %q", topic, refused.Error()))
		}
		w.mu.Unlock()
	}
}

// undelivered is why a topic did not take a message, in CloudWatch's words.
type undelivered string

func (u undelivered) Error() string { return string(u) }

// publish sends an alarm's message to a topic, where the topic takes it: by its policy, and not where it is encrypted with the key alias/aws/sns,
// which CloudWatch may not use: https://repost.aws/knowledge-center/cloudwatch-receive-sns-for-alarm-trigger
func (w *watcher) publish(ctx context.Context, topic string, alarm alarmtypes.MetricAlarm, was, state alarmtypes.StateValue, reason string) error {
	parts := strings.Split(topic, ":")
	attributes, err := w.gateway.topic(ctx, topic)
	if err != nil {
		return err
	}
	alarmARN := awssdk.ToString(alarm.AlarmArn)
	region := strings.Split(alarmARN, ":")[3]
	request := policy.Request{Action: "sns:Publish", Resource: topic, PrincipalType: "Service", Principal: "cloudwatch.amazonaws.com",
		Context: map[string]string{"aws:SourceArn": alarmARN, "aws:SourceAccount": w.gateway.options.Account}}
	allowed, err := policy.Allows([]string{attributes["Policy"]}, request)
	if err == nil && !allowed { // or as the alarm's own account
		request.PrincipalType, request.Principal = "AWS", "*"
		request.Context["AWS:SourceOwner"] = w.gateway.options.Account
		allowed, err = policy.Allows([]string{attributes["Policy"]}, request)
	}
	switch {
	case err != nil:
		return err
	case parts[3] != region:
		return undelivered("Invalid region " + parts[3] + " specified. Only " + region + " is supported.")
	case !allowed:
		return undelivered("Resource: " + alarmARN + " is not authorized to perform: SNS:Publish on resource: " + topic)
	case attributes["KmsMasterKeyId"] == "alias/aws/sns":
		return undelivered("CloudWatch Alarms does not have authorization to access the SNS topic encryption key.")
	}
	// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/Notify_Users_Alarm_Changes.html
	message, err := json.Marshal(map[string]any{
		"AlarmName": alarm.AlarmName, "AlarmDescription": alarm.AlarmDescription, "AWSAccountId": w.gateway.options.Account, "AlarmArn": alarmARN,
		"NewStateValue": state, "OldStateValue": was, "NewStateReason": reason, "Region": region,
		"StateChangeTime": w.now().UTC().Format("2006-01-02T15:04:05.000-0700"),
		"AlarmActions":    alarm.AlarmActions, "OKActions": alarm.OKActions,
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, Notification{topic, fmt.Sprintf("%s: %q in %s", state, *alarm.AlarmName, region), string(message)})
	return nil
}

// topic are the attributes of a topic, whoever's it is.
func (g *Gateway) topic(ctx context.Context, arn string) (map[string]string, error) {
	answer, err := g.askSNS(ctx, arn, url.Values{"Action": {"GetTopicAttributes"}, "TopicArn": {arn}})
	if err != nil {
		return nil, err
	}
	attributes := map[string]string{}
	for _, entry := range regexp.MustCompile(`(?s)<key>([^<]*)</key>\s*<value>([^<]*)</value>`).FindAllStringSubmatch(answer, -1) {
		attributes[entry[1]] = unescape.Replace(entry[2])
	}
	return attributes, nil
}

var unescape = strings.NewReplacer("&quot;", `"`, "&#34;", `"`, "&lt;", "<", "&gt;", ">", "&amp;", "&")

// AddTopic makes a topic in that account, encrypted with the key where that is not empty, and answers its ARN.
func (g *Gateway) AddTopic(ctx context.Context, region, account, name, key string) (string, error) {
	arn := fmt.Sprintf("arn:%s:sns:%s:%s:%s", partition(region), region, account, name)
	_, err := g.askSNS(ctx, arn, url.Values{"Action": {"CreateTopic"}, "Name": {name}})
	if err == nil && key != "" {
		err = g.SetTopic(ctx, arn, "KmsMasterKeyId", key)
	}
	return arn, err
}

// SetTopic sets an attribute of a topic.
func (g *Gateway) SetTopic(ctx context.Context, arn, attribute, value string) error {
	_, err := g.askSNS(ctx, arn, url.Values{"Action": {"SetTopicAttributes"}, "TopicArn": {arn}, "AttributeName": {attribute}, "AttributeValue": {value}})
	return err
}

// askSNS asks moto for a topic in the topic's own account and region.
func (g *Gateway) askSNS(ctx context.Context, topic string, form url.Values) (string, error) {
	parts := strings.Split(topic, ":")
	if len(parts) != 6 {
		return "", fmt.Errorf("%q is not the ARN of a topic", topic)
	}
	form.Set("Version", "2010-03-31")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.options.Moto, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=gateway/20260101/"+parts[3]+"/sns/aws4_request, SignedHeaders=host, Signature=0")
	answer, err := accountTransport(parts[4]).RoundTrip(request)
	if err != nil {
		return "", fmt.Errorf("asking moto for the topic %s: %w", topic, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s of the topic %s: %s", form.Get("Action"), topic, bytes.TrimSpace(text))
	}
	return string(text), err
}
