package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// Query answers a query of CloudWatch Logs Insights, a line for each event: its fields, as name=value. It knows the commands
// fields, filter, sort and limit as far as this project's queries use them, and refuses the rest; moto's own passes over what it
// does not know: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html
func (g *Gateway) Query(ctx context.Context, region, group, query string) ([]string, error) {
	found, err := cloudwatchlogs.NewFromConfig(g.functions.config(region)).FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: &group})
	if err != nil {
		return nil, fmt.Errorf("reading the log group %s: %w", group, err)
	}
	events := found.Events
	var fields []string
	for command := range strings.SplitSeq(query, " | ") {
		word, rest, _ := strings.Cut(strings.TrimSpace(command), " ")
		switch word {
		case "fields":
			for field := range strings.SplitSeq(rest, ",") {
				fields = append(fields, strings.TrimSpace(field))
			}
		case "filter":
			if events, err = filterEvents(events, rest); err != nil {
				return nil, err
			}
		case "sort":
			if rest != "@timestamp desc" {
				return nil, fmt.Errorf("the stand-in does not sort by %q", rest)
			}
			slices.SortStableFunc(events, func(a, b logtypes.FilteredLogEvent) int { return int(*b.Timestamp - *a.Timestamp) })
		case "limit":
			number, err := strconv.Atoi(rest)
			if err != nil {
				return nil, fmt.Errorf("reading the query's limit: %w", err)
			}
			events = events[:min(number, len(events))]
		default:
			return nil, fmt.Errorf("the stand-in for CloudWatch Logs Insights does not know the command %q", command)
		}
	}
	var lines []string
	for _, event := range events {
		values := fieldsOf(event)
		var line []string
		for _, field := range fields {
			if value, there := values[field]; there {
				line = append(line, field+"="+value)
			}
		}
		lines = append(lines, strings.Join(line, " "))
	}
	return lines, nil
}

var conditionPattern = regexp.MustCompile(`^(?:([a-zA-Z.]+) (=|!=) "([^"]*)"|ispresent\(([a-zA-Z.]+)\))$`)

// filterEvents keeps the events for which the conditions hold: all of them, joined by and, or one of them, by or.
func filterEvents(events []logtypes.FilteredLogEvent, text string) ([]logtypes.FilteredLogEvent, error) {
	joint, any := " and ", false
	if strings.Contains(text, " or ") {
		joint, any = " or ", true
	}
	var conditions [][]string
	for part := range strings.SplitSeq(text, joint) {
		condition := conditionPattern.FindStringSubmatch(strings.TrimSpace(part))
		if condition == nil {
			return nil, fmt.Errorf("the stand-in for CloudWatch Logs Insights does not know the condition %q", part)
		}
		conditions = append(conditions, condition)
	}
	return slices.DeleteFunc(slices.Clone(events), func(event logtypes.FilteredLogEvent) bool {
		values := fieldsOf(event)
		holds := func(condition []string) bool {
			value, there := values[condition[1]+condition[4]]
			switch condition[2] {
			case "=":
				return there && value == condition[3]
			case "!=":
				return value != condition[3]
			}
			return there
		}
		if any {
			return !slices.ContainsFunc(conditions, holds)
		}
		return slices.ContainsFunc(conditions, func(condition []string) bool { return !holds(condition) })
	}), nil
}

// fieldsOf are what Insights discovers in a line: those of JSON, with dots between the names of nested ones.
func fieldsOf(event logtypes.FilteredLogEvent) map[string]string {
	values := map[string]string{
		"@timestamp": time.UnixMilli(*event.Timestamp).UTC().Format("2006-01-02 15:04:05.000"), "@message": awssdk.ToString(event.Message),
	}
	var object map[string]any
	if json.Unmarshal([]byte(*event.Message), &object) == nil {
		flatten("", object, values)
	}
	return values
}

func flatten(prefix string, object map[string]any, into map[string]string) {
	for name, value := range object {
		if nested, is := value.(map[string]any); is {
			flatten(prefix+name+".", nested, into)
			continue
		}
		into[prefix+name] = fmt.Sprint(value)
	}
}
