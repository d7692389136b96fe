package gateway

import (
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The examples of AWS's manual: 0 is a value within the threshold, X one that breaches it, - none. The newest is the last.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
func TestAlarmsAreEvaluatedAsTheManualSays(t *testing.T) {
	t.Parallel()
	const ok, alarm, insufficient = types.StateValueOk, types.StateValueAlarm, types.StateValueInsufficientData
	for _, c := range []struct {
		data                             string
		needed                           int32 // of 3
		missing, breaching, notBreaching types.StateValue
	}{
		{"0-X-X", 3, ok, ok, ok},
		{"0----", 3, ok, ok, ok},
		{"-----", 3, insufficient, alarm, ok},
		{"0XX-X", 3, alarm, alarm, alarm},
		{"00X0X", 2, alarm, alarm, alarm},
	} {
		for treatment, want := range map[string]types.StateValue{
			"missing": c.missing, "breaching": c.breaching, "notBreaching": c.notBreaching,
		} {
			now := time.Now()
			w := newWatcher(nil)
			for i, value := range c.data {
				at := now.Add(-time.Duration(len(c.data)-i)*time.Minute + time.Second)
				if value != '-' {
					w.points[metricKey("n", "m", nil)] = append(w.points[metricKey("n", "m", nil)], point{at, map[rune]float64{'0': 0, 'X': 1}[value]})
				}
			}
			state, _ := w.evaluate(types.MetricAlarm{AlarmName: awssdk.String("a"), Namespace: awssdk.String("n"), MetricName: awssdk.String("m"),
				Period: awssdk.Int32(60), EvaluationPeriods: awssdk.Int32(3), DatapointsToAlarm: &c.needed, Threshold: awssdk.Float64(1),
				ComparisonOperator: types.ComparisonOperatorGreaterThanOrEqualToThreshold, TreatMissingData: &treatment}, now)
			assert.Equal(t, want, state, "%s, %d of 3, %s", c.data, c.needed, treatment)
		}
	}
}

// An alarm on what was logged once a day goes off two days after the last time only if what is missing is filled in.
func TestWhatIsFilledInIsNotMissing(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	start := time.Now()
	w := newWatcher(nil)
	key := metricKey("n", "m", map[string]string{"host": "db"})
	for i := range 5 {
		w.points[key] = append(w.points[key], point{start.Add(time.Duration(i) * day), 1})
	}
	last := start.Add(4 * day)
	metric := &types.Metric{Namespace: awssdk.String("n"), MetricName: awssdk.String("m"), Dimensions: []types.Dimension{{Name: awssdk.String("host"), Value: awssdk.String("db")}}}
	plain := types.MetricAlarm{AlarmName: awssdk.String("a"), Namespace: metric.Namespace, MetricName: metric.MetricName, Dimensions: metric.Dimensions,
		Period: awssdk.Int32(86400), EvaluationPeriods: awssdk.Int32(2), Threshold: awssdk.Float64(1),
		ComparisonOperator: types.ComparisonOperatorLessThanThreshold, TreatMissingData: awssdk.String("breaching")}
	filled := plain
	filled.Namespace, filled.MetricName, filled.Dimensions, filled.Period = nil, nil, nil, nil
	filled.Metrics = []types.MetricDataQuery{
		{Id: awssdk.String("checks"), ReturnData: awssdk.Bool(false), MetricStat: &types.MetricStat{Metric: metric, Period: awssdk.Int32(86400), Stat: awssdk.String("Sum")}},
		{Id: awssdk.String("filled"), ReturnData: awssdk.Bool(true), Expression: awssdk.String("FILL(checks, 0)")},
	}
	goesOff := func(alarm types.MetricAlarm) time.Duration {
		for after := time.Duration(0); after < 10*day; after += time.Hour {
			if state, _ := w.evaluate(alarm, last.Add(after)); state == types.StateValueAlarm {
				return after
			}
		}
		return 0
	}
	assert.Equal(t, 48*time.Hour, goesOff(filled))
	assert.Greater(t, goesOff(plain), 72*time.Hour)
}

func TestFilterPatterns(t *testing.T) {
	t.Parallel()
	for text, cases := range map[string]map[bool][]map[string]any{
		`{ $.result = "failed" }`: {true: {{"result": "failed"}}, false: {{"result": "ok"}, {}, {"result": "failed twice"}}},
		`{ $.warning = * }`:       {true: {{"warning": "the authority expires"}}, false: {{"warned": "x"}}},
		`{ ($.dryRun IS TRUE) && ($.result = "ok") }`: {true: {{"dryRun": true, "result": "ok"}},
			false: {{"dryRun": false, "result": "ok"}, {"dryRun": "true", "result": "ok"}, {"dryRun": true, "result": "failed"}}},
		`{ $.a != "x*" || $.b NOT EXISTS }`: {true: {{"a": "y", "b": 1}, {"a": "xy"}}, false: {{"a": "xy", "b": 1}}},
	} {
		parsed, err := parsePattern(text)
		require.NoError(t, err)
		for want, events := range cases {
			for _, event := range events {
				assert.Equal(t, want, parsed.matches(event), "%s: %v", text, event)
			}
		}
	}
	for _, text := range []string{"ERROR", "", `{ $.a > 1 }`, `{ $.a.b = "x" }`, `{ $.a = "x" && $.b = "y" || $.c = "z" }`} {
		_, err := parsePattern(text)
		assert.Error(t, err, text)
	}
}
