package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
)

func TestWhatIsBeyondALimitIsRefused(t *testing.T) {
	t.Parallel()
	many := map[string]any{}
	for i := range 11 {
		many[fmt.Sprint("team", i)] = "shop"
	}
	for name, c := range map[string]struct {
		token         string
		taken, beyond map[string]any
	}{
		"length": {"aws:cloudwatch/metricAlarm:MetricAlarm", map[string]any{"alarmDescription": strings.Repeat("ä", 512)},
			map[string]any{"alarmDescription": strings.Repeat("ä", 513)}},
		"letters": {"aws:ec2/securityGroup:SecurityGroup", map[string]any{"description": "Rotation connector a-b"}, map[string]any{"description": "The connector's"}},
		"below": {"aws:cloudwatch/logMetricFilter:LogMetricFilter", map[string]any{"metricTransformation": map[string]any{"name": "a-failed"}},
			map[string]any{"metricTransformation": map[string]any{"name": "a:failed"}}},
		"in a list": {"aws:iam/openIdConnectProvider:OpenIdConnectProvider", map[string]any{"clientIdLists": []any{"aws:acme"}},
			map[string]any{"clientIdLists": []any{"aws:acme", strings.Repeat("a", 256)}}},
		"tags":            {"aws:lambda/function:Function", map[string]any{"tagsAll": map[string]any{"go": "go1.25 X:a"}}, map[string]any{"tagsAll": map[string]any{"go": "go1.25 (Red Hat)"}}},
		"an object's":     {"aws:s3/bucketObjectv2:BucketObjectv2", map[string]any{"tagsAll": map[string]any{"a": "b"}}, map[string]any{"tagsAll": many}},
		"EC2's take more": {"aws:ec2/securityGroup:SecurityGroup", map[string]any{"tagsAll": map[string]any{"a": "(b)"}}, map[string]any{"tagsAll": map[string]any{"a": strings.Repeat("b", 257)}}},
	} {
		assert.NoError(t, beyond(c.token, resource.NewPropertyMapFromMap(c.taken)), name)
		assert.Error(t, beyond(c.token, resource.NewPropertyMapFromMap(c.beyond)), name)
	}
}
