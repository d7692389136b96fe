package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

type metricFilterInputs struct {
	Name, LogGroupName, Pattern string
	MetricTransformation        struct {
		Name, Namespace, Value, Unit string
		DefaultValue                 *string
		Dimensions                   map[string]string
	}
}

// metricFilter is what internal/service/logs/metric_filter.go makes of one in https://github.com/hashicorp/terraform-provider-aws.
func (c *clients) metricFilter() provider.Resource {
	// Several filters of one group at once are refused now and then, so that the provider takes one after the other.
	var turn sync.Mutex
	put := func(ctx context.Context, inputs resource.PropertyMap) (string, error) {
		var in metricFilterInputs
		if err := decode(inputs, &in); err != nil {
			return "", err
		}
		t := in.MetricTransformation
		transformation := logtypes.MetricTransformation{
			MetricName: &t.Name, MetricNamespace: &t.Namespace, MetricValue: &t.Value, Unit: logtypes.StandardUnitNone, Dimensions: t.Dimensions,
		}
		if t.Unit != "" {
			transformation.Unit = logtypes.StandardUnit(t.Unit)
		}
		if t.DefaultValue != nil && *t.DefaultValue != "" {
			value, err := strconv.ParseFloat(*t.DefaultValue, 64)
			if err != nil {
				return "", fmt.Errorf("metricTransformation.defaultValue: cannot parse %q as a float", *t.DefaultValue)
			}
			transformation.DefaultValue = &value
		}
		turn.Lock()
		defer turn.Unlock()
		_, err := c.logs.PutMetricFilter(ctx, &cloudwatchlogs.PutMetricFilterInput{
			FilterName: &in.Name, LogGroupName: &in.LogGroupName, FilterPattern: aws.String(strings.TrimSpace(in.Pattern)),
			MetricTransformations: []logtypes.MetricTransformation{transformation},
		})
		if err != nil {
			return "", fmt.Errorf("putting CloudWatch Logs Metric Filter (%s): %w", in.Name, err)
		}
		return in.Name, nil
	}
	return provider.Resource{
		Inputs:   []string{"name", "logGroupName", "pattern", "metricTransformation"},
		Required: []string{"logGroupName", "pattern", "metricTransformation"},
		Replace:  []string{"name", "logGroupName"},
		// The service fills in the unit.
		Computed: []string{"metricTransformation.unit"},
		Check:    provider.GeneratedName("name", 512),
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			id, err := put(ctx, inputs)
			return id, nil, err
		},
		Read: func(ctx context.Context, id string, state resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readMetricFilter(ctx, state["logGroupName"].StringValue(), id)
		},
		Update: func(ctx context.Context, _ string, _, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			_, err := put(ctx, inputs)
			return nil, err
		},
		Delete: func(ctx context.Context, id string, state resource.PropertyMap) error {
			turn.Lock()
			defer turn.Unlock()
			_, err := c.logs.DeleteMetricFilter(ctx, &cloudwatchlogs.DeleteMetricFilterInput{
				FilterName: &id, LogGroupName: aws.String(state["logGroupName"].StringValue()),
			})
			if ignoreNotFound(err) != nil {
				return fmt.Errorf("deleting CloudWatch Logs Metric Filter (%s): %w", id, err)
			}
			return nil
		},
	}
}

func (c *clients) readMetricFilter(ctx context.Context, group, name string) (resource.PropertyMap, error) {
	found, err := c.logs.DescribeMetricFilters(ctx, &cloudwatchlogs.DescribeMetricFiltersInput{FilterNamePrefix: &name, LogGroupName: &group})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading CloudWatch Logs Metric Filter (%s): %w", name, err)
	}
	for _, filter := range found.MetricFilters {
		if aws.ToString(filter.FilterName) != name {
			continue
		}
		t := filter.MetricTransformations[0]
		transformation := map[string]any{
			"name": aws.ToString(t.MetricName), "namespace": aws.ToString(t.MetricNamespace), "value": aws.ToString(t.MetricValue), "unit": string(t.Unit),
		}
		if t.DefaultValue != nil {
			transformation["defaultValue"] = strconv.FormatFloat(*t.DefaultValue, 'f', -1, 64)
		}
		if len(t.Dimensions) > 0 {
			transformation["dimensions"] = texts(t.Dimensions)
		}
		return properties(map[string]any{
			"name": name, "logGroupName": filter.LogGroupName, "pattern": filter.FilterPattern, "metricTransformation": transformation,
		}), nil
	}
	return nil, nil
}

func texts(of map[string]string) map[string]any {
	plain := map[string]any{}
	for key, value := range of {
		plain[key] = value
	}
	return plain
}

type metricAlarmInputs struct {
	Name, AlarmDescription, Namespace, MetricName, Statistic, ComparisonOperator, TreatMissingData string
	Dimensions                                                                                     map[string]string
	Period, EvaluationPeriods                                                                      int32
	Threshold                                                                                      float64
	AlarmActions, OkActions                                                                        []string
	MetricQueries                                                                                  []metricQuery
	Tags                                                                                           map[string]string
}

type metricQuery struct {
	ID                string `json:"id"`
	Expression, Label string
	ReturnData        bool
	Metric            *struct {
		Namespace, MetricName, Stat string
		Dimensions                  map[string]string
		Period                      int32
	}
}

func dimensionList(of map[string]string) []types.Dimension {
	var list []types.Dimension
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, types.Dimension{Name: aws.String(name), Value: aws.String(of[name])})
	}
	return list
}

func dimensionMap(of []types.Dimension) map[string]any {
	plain := map[string]any{}
	for _, dimension := range of {
		plain[aws.ToString(dimension.Name)] = aws.ToString(dimension.Value)
	}
	return plain
}

// alarmInput is a call that makes an alarm, or overwrites one.
func alarmInput(in metricAlarmInputs, tags []types.Tag) *cloudwatch.PutMetricAlarmInput {
	input := &cloudwatch.PutMetricAlarmInput{
		AlarmName: &in.Name, AlarmDescription: stringOrNil(in.AlarmDescription), ActionsEnabled: aws.Bool(true),
		ComparisonOperator: types.ComparisonOperator(in.ComparisonOperator), EvaluationPeriods: &in.EvaluationPeriods, Threshold: &in.Threshold,
		TreatMissingData: &in.TreatMissingData, AlarmActions: in.AlarmActions, OKActions: in.OkActions,
		Namespace: stringOrNil(in.Namespace), MetricName: stringOrNil(in.MetricName), Statistic: types.Statistic(in.Statistic),
		Dimensions: dimensionList(in.Dimensions), Tags: tags,
	}
	if in.Period > 0 {
		input.Period = &in.Period
	}
	for _, query := range in.MetricQueries {
		sent := types.MetricDataQuery{Id: &query.ID, Expression: stringOrNil(query.Expression), Label: stringOrNil(query.Label), ReturnData: &query.ReturnData}
		if m := query.Metric; m != nil {
			sent.MetricStat = &types.MetricStat{Period: &m.Period, Stat: &m.Stat, Metric: &types.Metric{
				Namespace: &m.Namespace, MetricName: &m.MetricName, Dimensions: dimensionList(m.Dimensions)}}
		}
		input.Metrics = append(input.Metrics, sent)
	}
	return input
}

// metricAlarm is what internal/service/cloudwatch/metric_alarm.go makes of one in https://github.com/hashicorp/terraform-provider-aws.
func (c *clients) metricAlarm() provider.Resource {
	return c.taggable(provider.Resource{
		Inputs: []string{"name", "alarmDescription", "namespace", "metricName", "dimensions", "statistic", "period", "metricQueries",
			"comparisonOperator", "threshold", "evaluationPeriods", "treatMissingData", "alarmActions", "okActions", "tags"},
		Required: []string{"comparisonOperator", "evaluationPeriods"},
		Replace:  []string{"name"},
		Same:     map[string]provider.Same{"alarmActions": provider.SameSet, "okActions": provider.SameSet, "metricQueries": provider.SameSet},
		Check: func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if _, set := inputs["treatMissingData"]; !set {
				inputs["treatMissingData"] = resource.NewProperty("missing")
			}
			_, metric := inputs["metricName"]
			_, statistic := inputs["statistic"]
			_, queries := inputs["metricQueries"]
			switch {
			case metric && !statistic:
				return nil, terraformError("One of `statistic` or `extended_statistic` must be set for a cloudwatch metric alarm")
			case metric && queries:
				return nil, terraformError(`"metric_name": conflicts with metric_query`)
			}
			return provider.GeneratedName("name", 255)(urn, inputs)
		},
		Create: func(ctx context.Context, inputs resource.PropertyMap) (string, resource.PropertyMap, error) {
			var in metricAlarmInputs
			if err := decode(inputs, &in); err != nil {
				return "", nil, err
			}
			if _, err := c.alarms.PutMetricAlarm(ctx, alarmInput(in, alarmTags(in.Tags))); err != nil {
				return "", nil, fmt.Errorf("creating CloudWatch Metric Alarm (%s): %w", in.Name, err)
			}
			return in.Name, nil, nil
		},
		Read: func(ctx context.Context, id string, _ resource.PropertyMap) (resource.PropertyMap, error) {
			return c.readMetricAlarm(ctx, id)
		},
		Update: func(ctx context.Context, id string, state, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if !changedBesides(state, inputs, "tags", "tagsAll") {
				return nil, nil
			}
			var in metricAlarmInputs
			if err := decode(inputs, &in); err != nil {
				return nil, err
			}
			if _, err := c.alarms.PutMetricAlarm(ctx, alarmInput(in, nil)); err != nil {
				return nil, fmt.Errorf("updating CloudWatch Metric Alarm (%s): %w", id, err)
			}
			return nil, nil
		},
		Delete: func(ctx context.Context, id string, _ resource.PropertyMap) error {
			_, err := c.alarms.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{id}})
			if ignoreNotFound(err) != nil {
				return fmt.Errorf("deleting CloudWatch Metric Alarm (%s): %w", id, err)
			}
			return nil
		},
	}, tagging{
		by: "arn",
		tag: func(ctx context.Context, arn string, tags map[string]string) error {
			_, err := c.alarms.TagResource(ctx, &cloudwatch.TagResourceInput{ResourceARN: &arn, Tags: alarmTags(tags)})
			return err
		},
		untag: func(ctx context.Context, arn string, keys []string) error {
			_, err := c.alarms.UntagResource(ctx, &cloudwatch.UntagResourceInput{ResourceARN: &arn, TagKeys: keys})
			return err
		},
	})
}

func changedBesides(state, inputs resource.PropertyMap, besides ...resource.PropertyKey) bool {
	for key, value := range inputs {
		if !slices.Contains(besides, key) && !state[key].DeepEquals(value) {
			return true
		}
	}
	return false
}

func alarmTags(of map[string]string) []types.Tag {
	var list []types.Tag
	for _, key := range slices.Sorted(maps.Keys(of)) {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(of[key])})
	}
	return list
}

func (c *clients) readMetricAlarm(ctx context.Context, name string) (resource.PropertyMap, error) {
	found, err := c.alarms.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}, AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm}})
	if err != nil {
		return nil, fmt.Errorf("reading CloudWatch Metric Alarm (%s): %w", name, err)
	}
	if len(found.MetricAlarms) == 0 {
		return nil, nil
	}
	alarm := found.MetricAlarms[0]
	listed, err := c.alarms.ListTagsForResource(ctx, &cloudwatch.ListTagsForResourceInput{ResourceARN: alarm.AlarmArn})
	if err != nil {
		return nil, fmt.Errorf("listing tags for CloudWatch Metric Alarm (%s): %w", name, err)
	}
	tags := map[string]string{}
	for _, tag := range listed.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	live := map[string]any{
		"name": alarm.AlarmName, "arn": alarm.AlarmArn, "alarmDescription": alarm.AlarmDescription, "namespace": alarm.Namespace,
		"metricName": alarm.MetricName, "period": alarm.Period, "comparisonOperator": string(alarm.ComparisonOperator),
		"evaluationPeriods": alarm.EvaluationPeriods, "treatMissingData": alarm.TreatMissingData, "tags": tags,
	}
	if alarm.Threshold != nil {
		live["threshold"] = *alarm.Threshold
	}
	if alarm.Statistic != "" {
		live["statistic"] = string(alarm.Statistic)
	}
	if len(alarm.Dimensions) > 0 {
		live["dimensions"] = dimensionMap(alarm.Dimensions)
	}
	for key, actions := range map[string][]string{"alarmActions": alarm.AlarmActions, "okActions": alarm.OKActions} {
		if len(actions) > 0 {
			live[key] = actions
		}
	}
	var queries []any
	for _, query := range alarm.Metrics {
		told := map[string]any{"id": aws.ToString(query.Id), "returnData": aws.ToBool(query.ReturnData)}
		for key, text := range map[string]*string{"expression": query.Expression, "label": query.Label} {
			if aws.ToString(text) != "" {
				told[key] = *text
			}
		}
		if m := query.MetricStat; m != nil {
			told["metric"] = map[string]any{
				"namespace": aws.ToString(m.Metric.Namespace), "metricName": aws.ToString(m.Metric.MetricName),
				"dimensions": dimensionMap(m.Metric.Dimensions), "period": float64(aws.ToInt32(m.Period)), "stat": aws.ToString(m.Stat),
			}
		}
		queries = append(queries, told)
	}
	if len(queries) > 0 {
		live["metricQueries"] = queries
	}
	return properties(live), nil
}

// terraformError is one in the words of the provider's Terraform part.
type terraformError string

func (e terraformError) Error() string { return string(e) }
