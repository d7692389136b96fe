package infra

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// A rotation that fails leaves everything working, until the day the password is needed. Whoever wants to hear of it sets
// rotationWebhookUrl, by which Pulumi Cloud tells of a rotation that failed, or alarmTopicArn, by which CloudWatch tells of what the
// function has logged, and of a function that says nothing any more.

// slackURL is how the URLs of Slack's incoming webhooks begin. Pulumi Cloud refuses others with the format slack:
// https://www.pulumi.com/docs/iac/cli/commands/pulumi_env_webhook_new/
const slackURL = "https://hooks.slack.com/"

// topicPattern is the ARN of an SNS topic: its partition, region, account and name.
var topicPattern = regexp.MustCompile(`^arn:([a-z0-9-]+):sns:([a-z0-9-]+):([0-9]{12}):([A-Za-z0-9_-]{1,256})(\.fifo)?$`)

// checkWatch is about the settings by which a failure is heard of, where they do not go together.
func (s *Settings) checkWatch() []problem {
	var problems []problem
	address, format, topic := settingOf("rotationWebhookUrl"), settingOf("rotationWebhookFormat"), settingOf("alarmTopicArn")
	found := func(row setting, reason, allowed, command string) {
		p := s.problem(row, reason)
		p.allowed, p.command = allowed, command
		problems = append(problems, p)
	}
	toSlack := strings.HasPrefix(s.WebhookURL.Reveal(), slackURL)
	switch {
	case !s.isSet(address) && s.isSet(format):
		found(format, s.shown(format.key(s.Project))+", and there is no rotationWebhookUrl to send to", "no format without a URL",
			address.command(address.key(s.Project))+"\n  Or: pulumi config rm "+format.key(s.Project))
	case s.WebhookURL.Reveal() != "" && s.WebhookFormat == "slack" && !toSlack:
		found(address, aSecret+", and rotationWebhookFormat is slack, which Pulumi Cloud sends to Slack alone", "a URL that begins with "+slackURL,
			address.command(address.key(s.Project))+"\n  Or: pulumi config rm "+format.key(s.Project))
	case toSlack && s.WebhookFormat != "slack":
		found(format, "is "+s.WebhookFormat+", and rotationWebhookUrl is Slack's, which takes messages of its own form alone", "slack",
			"pulumi config set "+format.key(s.Project)+" slack")
	}
	if parts := topicPattern.FindStringSubmatch(s.AlarmTopic); parts != nil && s.Region != "" && parts[2] != s.Region {
		key := topic.key(s.Project)
		command := "pulumi config set " + key + " " + strings.Replace(s.AlarmTopic, ":"+parts[2]+":", ":"+s.Region+":", 1)
		if s.isSecret(key) {
			command = topic.command(key)
		}
		found(topic, fmt.Sprintf("%s, in %s, and an alarm reaches topics of its own region alone, which is %s", s.shown(key), parts[2], s.Region),
			"the ARN of a topic in "+s.Region+", of this account or of another",
			command)
	}
	return problems
}

// checkTopic stops an ARN of another partition: CloudWatch would take it, and no message would ever arrive.
func (a *Account) checkTopic(s *Settings) error {
	parts := topicPattern.FindStringSubmatch(s.AlarmTopic)
	if parts == nil || parts[1] == a.Partition {
		return nil
	}
	row := settingOf("alarmTopicArn")
	key := row.key(s.Project)
	wrong := s.problem(row, fmt.Sprintf("%s, in the partition %s, and %s is in the partition %s", s.shown(key), parts[1], a.Region, a.Partition))
	if !s.isSecret(key) {
		wrong.command = "pulumi config set " + key + " " + strings.Replace(s.AlarmTopic, "arn:"+parts[1]+":", "arn:"+a.Partition+":", 1)
	}
	return &SettingsError{stack: s.Stack, problems: []problem{wrong}}
}

// metricNamespace is where the metrics of all connectors of an account are, each under its function's name.
const metricNamespace = "EscRotationConnector"

// hostField is the database's host in the function's log, and the dimension by which the checks of one database are told from those
// of another.
const hostField = "host"

// Periods of the alarms, in seconds. The first is short, so that each failure is told of, and not the first of a day alone.
const (
	failurePeriod = 5 * 60
	silencePeriod = 24 * 60 * 60
)

// checksDaily reports whether the function is to check the database each day, so that silence is heard of.
func (s *Settings) checksDaily() bool { return s.AlarmTopic != "" && s.KeepWarm && !s.Published }

// watch registers what tells the topic of a rotation or a check that failed, and of a function that broke down. It answers what
// must be there before the function is asked for a first check: a filter sees no line that is older than itself.
func (d *deployment) watch(logs *logGroup, function *lambda.Function) ([]pulumi.Output, error) {
	if d.settings.AlarmTopic == "" {
		return nil, nil
	}
	if err := d.warnOfUnheard(); err != nil {
		return nil, err
	}
	broken, err := d.alarm(errorsAlarmResource, "-errors", metricAlarmArgs{
		AlarmDescription: d.describe("the function broke down or ran out of time",
			`fields @timestamp, record.requestId, record.status, record.errorType | filter type = "platform.report" and record.status != "success"`),
		Namespace:  pulumi.String("AWS/Lambda"),
		MetricName: pulumi.String("Errors"),
		Dimensions: pulumi.StringMap{"FunctionName": function.Name},
	}.onFailure())
	if err != nil || d.settings.Published { // which writes other lines
		return broken, err
	}
	metric := d.names.function + "-failed"
	failures, err := d.metricFilter(logs, failedFilterResource, "-failed", `{ $.result = "failed" }`, metric,
		pulumi.Map{"defaultValue": pulumi.String("0")})
	if err != nil {
		return nil, err
	}
	// Nothing has failed yet, and the same people can mend it.
	warnings, err := d.metricFilter(logs, warningFilterResource, "-warning", `{ $.warning = * }`, metric, nil)
	if err != nil {
		return nil, err
	}
	failed, err := d.alarm(failedAlarmResource, "-failed", metricAlarmArgs{
		AlarmDescription: d.describe("a rotation or a check of the database failed, or a certificate authority expires soon",
			logFields+` | filter result = "failed" or ispresent(warning)`),
		Namespace:  pulumi.String(metricNamespace),
		MetricName: pulumi.String(metric),
	}.onFailure())
	if err != nil || !d.settings.checksDaily() {
		return slices.Concat(broken, failures, warnings, failed), err
	}
	checks, err := d.checksFilter(logs)
	return slices.Concat(broken, failures, warnings, failed, checks), err
}

// checksFilter counts the checks that have reached the database.
func (d *deployment) checksFilter(logs *logGroup) ([]pulumi.Output, error) {
	// CloudWatch Logs takes no default value beside a dimension: "dimensions and default value are mutually exclusive properties".
	return d.metricFilter(logs, checkedFilterResource, "-checked", `{ ($.dryRun IS TRUE) && ($.result = "ok") }`, d.names.function+"-checked",
		pulumi.Map{"dimensions": pulumi.StringMap{hostField: pulumi.String("$." + hostField)}})
}

// WatchSilence registers what tells the topic of a database that no check has reached for two days. To its alarm no data is bad news, so
// it comes when the first check has been made.
func (c *Connector) WatchSilence() error {
	d := c.deployment
	if !d.settings.checksDaily() {
		return nil
	}
	// CloudWatch looks for data farther back than the periods that it evaluates, and takes what it finds for the missing, so that an alarm on
	// the metric itself would go off days late. What is filled in is not missing:
	// https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
	_, err := d.alarm(silenceAlarmResource, "-silence", metricAlarmArgs{
		AlarmDescription: d.describe("ALARM says that no check has reached the database "+d.database.Host+" for two days, OK that one has",
			logFields+fmt.Sprintf(` | filter %s = "%s"`, hostField, d.database.Host)),
		MetricQueries: pulumi.Array{
			pulumi.Map{"id": pulumi.String("checks"), "returnData": pulumi.Bool(false), "metric": pulumi.Map{
				"namespace":  pulumi.String(metricNamespace),
				"metricName": pulumi.String(d.names.function + "-checked"),
				"dimensions": pulumi.StringMap{hostField: pulumi.String(d.database.Host)},
				"period":     pulumi.Int(silencePeriod),
				"stat":       pulumi.String("Sum"),
			}},
			pulumi.Map{"id": pulumi.String("filled"), "returnData": pulumi.Bool(true), "expression": pulumi.String("FILL(checks, 0)"),
				"label": pulumi.String("checks that reached the database")},
		},
		ComparisonOperator: pulumi.String("LessThanThreshold"),
		EvaluationPeriods:  pulumi.Int(2),
		TreatMissingData:   pulumi.String("breaching"),
		// Here the end is news as well. The first OK, minutes after the alarm was made, shows that the topic hears.
		OkActions: pulumi.StringArray{pulumi.String(d.settings.AlarmTopic)},
	}, c.daily)
	return err
}

// warnOfUnheard says what the topic of alarmTopicArn will not hear of.
func (d *deployment) warnOfUnheard() error {
	switch {
	case d.settings.checksDaily():
		return nil
	case d.settings.Published:
		return d.ctx.Log.Warn("alarmTopicArn hears of a function that breaks down, and of nothing else: lambdaArtifact is published, and Pulumi's archive "+
			"writes no line by which a rotation that failed could be told. rotationWebhookUrl tells of it", nil)
	}
	return d.ctx.Log.Warn("alarmTopicArn does not hear of a database that the function cannot reach, before a rotation fails by it: keepWarm is false, so that "+
		"nothing checks the database each day\n  pulumi config set "+d.settings.Project+":keepWarm true", nil)
}

// metricFilter counts the lines of the function's log that the pattern matches.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
func (d *deployment) metricFilter(logs *logGroup, name, suffix, pattern, metric string, further pulumi.Map) ([]pulumi.Output, error) {
	transformation := pulumi.Map{
		"namespace": pulumi.String(metricNamespace),
		"name":      pulumi.String(metric),
		"value":     pulumi.String("1"),
	}
	maps.Copy(transformation, further)
	var filter metricFilter
	err := register(d.ctx, metricFilterToken, name, metricFilterArgs{
		Name:                 pulumi.String(d.names.function + suffix),
		LogGroupName:         logs.ID().ToStringOutput(), // so that it is made anew with the group, which takes it along
		Pattern:              pulumi.String(pattern),
		MetricTransformation: transformation,
	}, &filter, pulumi.DeleteBeforeReplace(true))
	return []pulumi.Output{filter.ID()}, err
}

// onFailure has an alarm go off by one failure. No data is none. That it ends is no news: some minutes later it does, mended or not.
func (a metricAlarmArgs) onFailure() metricAlarmArgs {
	a.Statistic, a.Period = pulumi.String("Sum"), pulumi.Int(failurePeriod)
	a.ComparisonOperator, a.EvaluationPeriods = pulumi.String("GreaterThanOrEqualToThreshold"), pulumi.Int(1)
	a.TreatMissingData = pulumi.String("notBreaching")
	return a
}

func (d *deployment) alarm(name, suffix string, args metricAlarmArgs, after ...pulumi.Resource) ([]pulumi.Output, error) {
	args.Name, args.Threshold = pulumi.String(d.names.function+suffix), pulumi.Float64(1)
	args.AlarmActions = pulumi.StringArray{pulumi.String(d.settings.AlarmTopic)}
	args.Tags = d.tags
	var alarm metricAlarm
	err := register(d.ctx, metricAlarmToken, name, args, &alarm, pulumi.DeleteBeforeReplace(true), pulumi.DependsOn(after))
	return []pulumi.Output{alarm.ID()}, err
}

// logFields are those of the function's line that lead to a cause.
const logFields = "fields @timestamp, event, result, targetUser, host, stage, message, warning, requestId"

// describe is what stands in the message that wakes somebody: whose it is, what happened, the query that finds the line of the log,
// and the page that helps. Of more than CloudWatch takes, as with a host's name of 200 characters, the end is missing.
func (d *deployment) describe(what, query string) pulumi.StringInput {
	const most = 1024 // https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
	description := fmt.Sprintf("Pulumi stack %s/%s/%s: %s. CloudWatch Logs Insights tells more. Log group: %s Query: %s | sort @timestamp desc | limit 20 "+
		"What to do: docs/ALARMS.md in the stack's project", d.ctx.Organization(), d.settings.Project, d.settings.Stack, what, d.names.logGroup, query)
	return pulumi.String(description[:min(len(description), most)])
}
