package infra

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const topic = "arn:aws:sns:eu-west-1:111122223333:alarms"

func TestWhoHearsOfAFailureIsChecked(t *testing.T) {
	const (
		slack = "https://hooks.slack.com/services/T0/B0/hush"
		other = "https://hooks.example.com/hush"
	)
	for name, c := range map[string]struct {
		url, format, topic string
		says               []string // nothing: taken
	}{
		"a URL":                        {url: other},
		"a URL with its format":        {url: other, format: "ms_teams"},
		"Slack's URL":                  {url: slack, format: "Slack"},
		"a listener on this machine":   {url: "http://127.0.0.1:8080/hush"},
		"and one by its name":          {url: "http://localhost:8080/hush"},
		"a topic":                      {topic: topic},
		"a topic of another account":   {topic: "arn:aws:sns:eu-west-1:999999999999:Alarms_of-all"},
		"a word":                       {url: "hush", says: []string{"shop:rotationWebhookUrl is set to a [secret]: ", "no", "--secret shop:rotationWebhookUrl"}},
		"a path":                       {url: "/hush", says: []string{"with a scheme and a host"}},
		"two lines":                    {url: "https://hooks.example.com/\nhush", says: []string{"with a scheme and a host"}},
		"no TLS":                       {url: "http://hooks.example.com/hush", says: []string{"does not begin with https://"}},
		"another scheme":               {url: "ftp://localhost/hush", says: []string{"does not begin with https://"}},
		"a format that is none":        {url: other, format: "xml", says: []string{`shop:rotationWebhookFormat is "xml"`, "raw, slack or ms_teams"}},
		"the URL as its format":        {url: other, format: other, says: []string{"shop:rotationWebhookFormat is set to what may be a URL", "raw, slack or ms_teams"}},
		"a format for a stack":         {url: other, format: "pulumi_deployments", says: []string{"raw, slack or ms_teams"}},
		"a format without a URL":       {format: "slack", says: []string{"there is no rotationWebhookUrl", "pulumi config rm shop:rotationWebhookFormat"}},
		"Slack's format to another":    {url: other, format: "slack", says: []string{"shop:rotationWebhookUrl is set to a [secret]", "https://hooks.slack.com/"}},
		"Slack's URL, without format":  {url: slack, says: []string{"pulumi config set shop:rotationWebhookFormat slack"}},
		"Slack's URL, another format":  {url: slack, format: "ms_teams", says: []string{"is ms_teams", "pulumi config set shop:rotationWebhookFormat slack"}},
		"a topic's name":               {topic: "alarms", says: []string{`shop:alarmTopicArn is "alarms": that is not the ARN of an SNS topic`, "in the stack's region"}},
		"a queue":                      {topic: "arn:aws:sqs:eu-west-1:111122223333:alarms", says: []string{"not the ARN of an SNS topic"}},
		"a subscription":               {topic: topic + ":0123", says: []string{"not the ARN of an SNS topic"}},
		"a topic of another region":    {topic: "arn:aws:sns:us-east-1:111122223333:alarms", says: []string{"in us-east-1", "which is eu-west-1", "pulumi config set shop:alarmTopicArn " + topic}},
		"a topic of another partition": {topic: "arn:aws-cn:sns:eu-west-1:111122223333:alarms", says: []string{"in the partition aws-cn", "is in the partition aws", topic, "nothing was created"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			err := deploy(t, cloud, minimal(map[string]string{
				"shop:rotationWebhookUrl": c.url, "shop:rotationWebhookFormat": c.format, "shop:alarmTopicArn": c.topic,
			}))
			if c.says == nil {
				require.NoError(t, err)
				return
			}
			for _, part := range c.says {
				assert.ErrorContains(t, err, part)
			}
			assert.NotContains(t, err.Error(), "hush", "a webhook's URL is often all that a sender must know")
			assert.Empty(t, cloud.registered)
		})
	}
}

// watching are the resources by which a topic hears of failures, by their logical names.
func (c *cloud) watching() []string {
	var names []string
	for name, registered := range c.registered {
		if registered.TypeToken == metricFilterToken || registered.TypeToken == metricAlarmToken {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestOneSettingMakesAlarms(t *testing.T) {
	for name, c := range map[string]struct {
		settings map[string]string
		want     []string
		schedule string
	}{
		"not set": {nil, nil, "rate(7 days)"},
		"set": {map[string]string{"shop:alarmTopicArn": topic},
			[]string{"checkedFilter", "errorsAlarm", "failedAlarm", "failedFilter", "silenceAlarm", "warningFilter"}, "rate(1 day)"},
		"without a check each day": {map[string]string{"shop:alarmTopicArn": topic, "shop:keepWarm": "false"},
			[]string{"errorsAlarm", "failedAlarm", "failedFilter", "warningFilter"}, ""},
		"with Pulumi's archive": {map[string]string{"aws:region": "eu-central-1", "shop:alarmTopicArn": strings.Replace(topic, "eu-west-1", "eu-central-1", 1),
			"shop:lambdaArtifact": "published"}, []string{"errorsAlarm"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud()
			require.NoError(t, deploy(t, cloud, minimal(c.settings)))
			assert.Equal(t, c.want, cloud.watching())
			if c.schedule == "" {
				assert.NotContains(t, cloud.registered, keepWarmResource)
			} else {
				assert.Equal(t, c.schedule, cloud.input(keepWarmResource, "scheduleExpression"))
			}
		})
	}
}

func TestWhatTheAlarmsAreOf(t *testing.T) {
	c := newCloud()
	require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:alarmTopicArn": topic})))
	function := c.input(functionResource, "name")
	plain := func(name string) map[string]any { return c.registered[name].Inputs.Mappable() }

	// A filter that has a dimension can have no default value.
	for name, want := range map[string]struct {
		pattern        string
		transformation map[string]any
	}{
		failedFilterResource: {`{ $.result = "failed" }`,
			map[string]any{"namespace": "EscRotationConnector", "name": function + "-failed", "value": "1", "defaultValue": "0"}},
		warningFilterResource: {`{ $.warning = * }`,
			map[string]any{"namespace": "EscRotationConnector", "name": function + "-failed", "value": "1"}},
		checkedFilterResource: {`{ ($.dryRun IS TRUE) && ($.result = "ok") }`,
			map[string]any{"namespace": "EscRotationConnector", "name": function + "-checked", "value": "1", "dimensions": map[string]any{"host": "$.host"}}},
	} {
		assert.Equal(t, want.pattern, plain(name)["pattern"])
		assert.Equal(t, want.transformation, plain(name)["metricTransformation"])
		assert.Equal(t, c.input(logGroupResource, "name"), plain(name)["logGroupName"])
	}

	for name, metric := range map[string][]any{
		failedAlarmResource: {"EscRotationConnector", function + "-failed", nil},
		errorsAlarmResource: {"AWS/Lambda", "Errors", map[string]any{"FunctionName": function}},
	} {
		alarm := plain(name)
		assert.Equal(t, metric, []any{alarm["namespace"], alarm["metricName"], alarm["dimensions"]}, name)
		assert.Equal(t, []any{"Sum", "GreaterThanOrEqualToThreshold", 1.0, 1.0, "notBreaching"},
			[]any{alarm["statistic"], alarm["comparisonOperator"], alarm["threshold"], alarm["evaluationPeriods"], alarm["treatMissingData"]}, name)
		assert.Equal(t, []any{topic}, alarm["alarmActions"], name)
		assert.NotContains(t, alarm, "okActions", "that no further rotation fails is no news")
	}

	silence := plain(silenceAlarmResource)
	assert.Equal(t, []any{"LessThanThreshold", 1.0, 2.0, "breaching"},
		[]any{silence["comparisonOperator"], silence["threshold"], silence["evaluationPeriods"], silence["treatMissingData"]})
	assert.Equal(t, []any{topic}, silence["alarmActions"])
	assert.Equal(t, []any{topic}, silence["okActions"])
	assert.Equal(t, []any{
		map[string]any{"id": "checks", "returnData": false, "metric": map[string]any{"namespace": "EscRotationConnector", "metricName": function + "-checked",
			"dimensions": map[string]any{"host": "orders.cluster-abc.eu-west-1.rds.amazonaws.com"}, "period": 86400.0, "stat": "Sum"}},
		map[string]any{"id": "filled", "returnData": true, "expression": "FILL(checks, 0)", "label": "checks that reached the database"},
	}, silence["metricQueries"])
}

// Who is woken has the message alone.
func TestAnAlarmNamesStackQueryAndPage(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, identifier := range []string{"orders", long} {
		c := newCloud()
		c.answers[clusterToken] = answer(map[string]any{"endpoint": identifier + ".cluster-abc.eu-west-1.rds.amazonaws.com", "port": 5432,
			"engine": "aurora-postgresql", "engineVersion": "16.4", "dbSubnetGroupName": "private", "vpcSecurityGroupIds": []any{"sg-database"}})
		c.answers[clustersToken] = answer(map[string]any{"clusterIdentifiers": []any{identifier}})
		require.NoError(t, deploy(t, c, minimal(map[string]string{"shop:rdsDbIdentifier": identifier, "shop:alarmTopicArn": topic})))
		for _, name := range []string{failedAlarmResource, errorsAlarmResource, silenceAlarmResource} {
			description := c.input(name, "alarmDescription")
			for _, part := range []string{"acme/shop/dev", "/aws/lambda/" + c.input(functionResource, "name"), "fields @timestamp", "docs/ALARMS.md"} {
				assert.Contains(t, description, part, name)
			}
		}
	}
}

// Names of stack and project have 100 characters at most, and a host's 253. RDS gives none of such a length: there the page is named still.
func TestNoDescriptionIsLongerThanCloudWatchTakes(t *testing.T) {
	const most = 1024
	long := strings.Repeat("n", 100)
	rds := strings.Repeat("d", 63) + ".cluster-0123456789ab.ap-southeast-1.rds.amazonaws.com"
	for _, host := range []string{rds, strings.Repeat(strings.Repeat("h", 62)+".", 4) + "h"} {
		c, configuration := newCloud(), Config{}
		settings := map[string]string{"aws:region": "eu-west-1"}
		for name, value := range map[string]string{"rdsDbIdentifier": "orders", "rotatedSecretsEnvironmentName": "shop/orders", "alarmTopicArn": topic, "databaseHost": host} {
			settings[long+":"+name] = value
		}
		require.NoError(t, pulumi.RunErr(func(ctx *pulumi.Context) error { return steps(ctx, configuration) },
			pulumi.WithMocksWithOrganization("acme", long, long, c), func(info *pulumi.RunInfo) { info.Config = settings }, configuration.Capture))
		for _, name := range []string{failedAlarmResource, errorsAlarmResource, silenceAlarmResource} {
			description := c.input(name, "alarmDescription")
			assert.LessOrEqual(t, len(description), most, name)
			assert.Equal(t, len(description) < most, strings.HasSuffix(description, "docs/ALARMS.md in the stack's project"), name)
			assert.True(t, host != rds || len(description) < most, name)
		}
	}
}

// A webhook's URL is a secret to the engine, whether it was set as one or not.
func TestAWebhooksURLIsNotShown(t *testing.T) {
	s, err := readSettings(t, minimal(map[string]string{"shop:rotationWebhookUrl": "https://hooks.example.com/hush"}))
	require.NoError(t, err)
	assert.Equal(t, "https://hooks.example.com/hush", s.WebhookURL.Reveal())
	assert.Equal(t, "raw", s.WebhookFormat)
}
