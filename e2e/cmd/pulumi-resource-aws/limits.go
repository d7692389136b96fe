package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"esc-connector-lambda-go/e2e/provider"
)

// limit is what the provider, or AWS after it, takes of a text.
type limit struct {
	most    int            // bytes, as the provider counts
	pattern *regexp.Regexp // of all of it; nil for any
}

var (
	word        = regexp.MustCompile(`^[0-9A-Za-z_-]+$`)
	dottedWord  = regexp.MustCompile(`^[0-9A-Za-z_.-]+$`)
	iamName     = regexp.MustCompile(`^[0-9A-Za-z_+=,.@-]+$`)
	iamText     = regexp.MustCompile(`^[\t\n\r\x{20}-\x{7E}\x{A1}-\x{FF}]*$`)
	logName     = regexp.MustCompile(`^[0-9A-Za-z_./#-]+$`)
	metricName  = regexp.MustCompile(`^[^:*$]*$`)
	groupText   = regexp.MustCompile(`^[0-9A-Za-z_ .:/()#,@\[\]+=&;{}!$*-]*$`)
	signerName  = regexp.MustCompile(`^[0-9A-Za-z_]*$`)
	bucketName  = regexp.MustCompile(`^[0-9a-z.-]*$`)
	tagText     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	describedBy = limit{255, groupText}
)

// limits are those of texts that this project's program makes, by type and path. Of the provider they are the schemas' ValidateFunc in
// https://github.com/hashicorp/terraform-provider-aws/tree/main/internal/service: cloudwatch/metric_alarm.go, ec2/vpc_security_group.go,
// ec2/vpc_security_group_ingress_rule.go, events/validate.go, iam/role.go, iam/role_policy.go, iam/openid_connect_provider.go,
// lambda/validate.go, logs/validate.go, s3/bucket.go and signer/signing_profile.go. Of AWS they are
// https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html (and CreateCodeSigningConfig, AddPermission) and
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html.
var limits = map[string]map[string]limit{
	"aws:cloudwatch/eventRule:EventRule":                        {"name": {64, dottedWord}, "description": {512, nil}, "scheduleExpression": {256, nil}},
	"aws:cloudwatch/eventTarget:EventTarget":                    {"targetId": {64, dottedWord}, "input": {8192, nil}},
	"aws:cloudwatch/logGroup:LogGroup":                          {"name": {512, logName}},
	"aws:cloudwatch/logMetricFilter:LogMetricFilter":            {"name": {512, regexp.MustCompile(`^[^:*]*$`)}, "pattern": {1024, nil}, "metricTransformation.name": {255, metricName}, "metricTransformation.namespace": {255, metricName}, "metricTransformation.value": {100, nil}},
	"aws:cloudwatch/metricAlarm:MetricAlarm":                    {"name": {255, nil}, "alarmDescription": {1024, nil}, "metricName": {255, nil}, "namespace": {255, nil}},
	"aws:ec2/securityGroup:SecurityGroup":                       {"name": describedBy, "description": describedBy},
	"aws:iam/openIdConnectProvider:OpenIdConnectProvider":       {"url": {255, nil}, "clientIdLists": {255, nil}},
	"aws:iam/role:Role":                                         {"name": {64, iamName}, "description": {1000, iamText}},
	"aws:iam/rolePolicy:RolePolicy":                             {"name": {128, iamName}},
	"aws:lambda/codeSigningConfig:CodeSigningConfig":            {"description": {256, nil}},
	"aws:lambda/function:Function":                              {"name": {64, word}, "description": {256, nil}, "handler": {128, nil}, "loggingConfig.logGroup": {512, logName}},
	"aws:lambda/permission:Permission":                          {"statementId": {100, word}},
	"aws:s3/bucketV2:BucketV2":                                  {"bucketPrefix": {37, bucketName}},
	"aws:signer/signingProfile:SigningProfile":                  {"namePrefix": {38, signerName}},
	"aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule":   {"description": describedBy},
	"aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": {"description": describedBy},
}

// mostTags are those of one resource: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html, and
// for objects https://docs.aws.amazon.com/AmazonS3/latest/userguide/tagging-managing.html
func mostTags(token string) int {
	if token == "aws:s3/bucketObjectv2:BucketObjectv2" {
		return 10
	}
	return 50
}

// limited has each row refuse what is beyond its limits.
func limited(rows map[string]provider.Resource) map[string]provider.Resource {
	for token, row := range rows {
		check := row.Check
		row.Check = func(urn resource.URN, inputs resource.PropertyMap) (resource.PropertyMap, error) {
			if check != nil {
				var err error
				if inputs, err = check(urn, inputs); err != nil {
					return nil, err
				}
			}
			return inputs, beyond(token, inputs)
		}
		rows[token] = row
	}
	return rows
}

// beyond is the first thing of the inputs that is beyond a limit.
func beyond(token string, inputs resource.PropertyMap) error {
	for path, limit := range limits[token] {
		parsed, err := resource.ParsePropertyPath(path)
		if err != nil {
			return err
		}
		value, _ := parsed.Get(resource.NewProperty(inputs))
		texts := []resource.PropertyValue{value}
		if value.IsArray() {
			texts = value.ArrayValue()
		}
		for _, text := range texts {
			if err := limit.check(path, text); err != nil {
				return err
			}
		}
	}
	return beyondTags(token, textMap(inputs["tagsAll"]))
}

func (l limit) check(path string, value resource.PropertyValue) error {
	switch {
	case !value.IsString(): // not known yet, or not set
	case len(value.StringValue()) > l.most:
		return fmt.Errorf("expected length of %s to be in the range (0 - %d), got %s", path, l.most, value.StringValue())
	case l.pattern != nil && !l.pattern.MatchString(value.StringValue()):
		return fmt.Errorf("invalid value for %s (must match %s): %s", path, l.pattern, value.StringValue())
	}
	return nil
}

// beyondTags is about tags: of EC2's any letters are taken (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html), of those of
// others these, as Lambda says itself in https://github.com/cloud-custodian/cloud-custodian/issues/2520.
func beyondTags(token string, tags map[string]string) error {
	if len(tags) > mostTags(token) {
		return fmt.Errorf("%d tags, and %d are the most", len(tags), mostTags(token))
	}
	for key, value := range tags {
		ofEC2 := strings.HasPrefix(token, "aws:ec2/") || strings.HasPrefix(token, "aws:vpc/")
		if len([]rune(key)) > 128 || len([]rune(value)) > 256 || !ofEC2 && !tagText.MatchString(key+value) {
			return fmt.Errorf("tag %q: Map value must satisfy constraint: [Member must have length less than or equal to 256, "+
				"Member must satisfy regular expression pattern: %s]: %s", key, tagText, value)
		}
	}
	return nil
}
