package infra

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const awsSDK = "github.com/pulumi/pulumi-aws/sdk/v6"

// The provider takes and gives the properties that awsprovider.go names, as the SDK's source has them.
func TestTokensAndPropertiesAreThoseOfTheSDK(t *testing.T) {
	folder, _ := sdk(t)
	cases := map[string]struct {
		args, result any // result is what the resource or the function gives
		sdkArgs      string
		sdkResult    string
	}{
		eventRuleToken:         {eventRuleArgs{}, eventRule{}, "eventRuleArgs", "EventRule"},
		eventTargetToken:       {eventTargetArgs{}, eventTarget{}, "eventTargetArgs", "EventTarget"},
		logGroupToken:          {logGroupArgs{}, logGroup{}, "logGroupArgs", "LogGroup"},
		metricFilterToken:      {metricFilterArgs{}, metricFilter{}, "logMetricFilterArgs", "LogMetricFilter"},
		metricAlarmToken:       {metricAlarmArgs{}, metricAlarm{}, "metricAlarmArgs", "MetricAlarm"},
		securityGroupToken:     {securityGroupArgs{}, securityGroup{}, "securityGroupArgs", "SecurityGroup"},
		egressRuleToken:        {securityGroupRuleArgs{}, securityGroupRule{}, "securityGroupEgressRuleArgs", "SecurityGroupEgressRule"},
		ingressRuleToken:       {securityGroupRuleArgs{}, securityGroupRule{}, "securityGroupIngressRuleArgs", "SecurityGroupIngressRule"},
		bucketToken:            {bucketArgs{}, bucket{}, "bucketV2Args", "BucketV2"},
		bucketVersioningToken:  {bucketVersioningArgs{}, bucketPart{}, "bucketVersioningV2Args", "BucketVersioningV2"},
		publicAccessBlockToken: {publicAccessBlockArgs{}, bucketPart{}, "bucketPublicAccessBlockArgs", "BucketPublicAccessBlock"},
		bucketEncryptionToken: {bucketEncryptionArgs{}, bucketPart{},
			"bucketServerSideEncryptionConfigurationV2Args", "BucketServerSideEncryptionConfigurationV2"},
		bucketPolicyToken:         {bucketPolicyArgs{}, bucketPart{}, "bucketPolicyArgs", "BucketPolicy"},
		objectToken:               {objectArgs{}, object{}, "bucketObjectv2Args", "BucketObjectv2"},
		signingProfileToken:       {signingProfileArgs{}, signingProfile{}, "signingProfileArgs", "SigningProfile"},
		signingJobToken:           {signingJobArgs{}, signingJob{}, "signingJobArgs", "SigningJob"},
		signingProfileLookupToken: {signingProfileLookupArgs{}, foundSigningProfile{}, "LookupSigningProfileArgs", "LookupSigningProfileResult"},
		callerIdentityToken:       {noArgs{}, callerIdentity{}, "GetCallerIdentityArgs", "GetCallerIdentityResult"},
		partitionToken:            {noArgs{}, partition{}, "GetPartitionArgs", "GetPartitionResult"},
		clustersToken:             {filterArgs{}, clusterList{}, "GetClustersArgs", "GetClustersResult"},
		clusterToken:              {clusterArgs{}, cluster{}, "LookupClusterArgs", "LookupClusterResult"},
		instancesToken:            {filterArgs{}, instanceList{}, "GetInstancesArgs", "GetInstancesResult"},
		instanceToken:             {instanceArgs{}, instance{}, "LookupInstanceArgs", "LookupInstanceResult"},
		invocationToken:           {invocationArgs{}, invocation{}, "LookupInvocationArgs", "LookupInvocationResult"},
		secretVersionToken:        {secretVersionArgs{}, secretVersion{}, "LookupSecretVersionArgs", "LookupSecretVersionResult"},
		subnetGroupToken:          {subnetGroupArgs{}, subnetGroup{}, "LookupSubnetGroupArgs", "LookupSubnetGroupResult"},
		subnetToken:               {subnetArgs{}, subnet{}, "LookupSubnetArgs", "LookupSubnetResult"},
		vpcToken:                  {vpcArgs{}, vpc{}, "LookupVpcArgs", "LookupVpcResult"},
		securityGroupLookupToken:  {securityGroupLookupArgs{}, foundSecurityGroup{}, "LookupSecurityGroupArgs", "LookupSecurityGroupResult"},
		bucketLookupToken:         {bucketLookupArgs{}, struct{}{}, "LookupBucketArgs", "LookupBucketResult"},
		taggedLookupToken:         {taggedArgs{}, taggedList{}, "GetResourcesArgs", "GetResourcesResult"},
		rulesLookupToken:          {rulesArgs{}, ruleList{}, "GetSecurityGroupRulesArgs", "GetSecurityGroupRulesResult"},
		ruleLookupToken:           {ruleArgs{}, foundRule{}, "GetSecurityGroupRuleArgs", "GetSecurityGroupRuleResult"},
		dhcpOptionsToken:          {dhcpOptionsArgs{}, dhcpOptions{}, "LookupVpcDhcpOptionsArgs", "LookupVpcDhcpOptionsResult"},
	}
	for typeToken, c := range cases {
		t.Run(typeToken, func(t *testing.T) {
			source, file := sourceOf(t, folder, typeToken)
			assert.Contains(t, source, `"`+typeToken+`"`, "the token is not in the SDK's source of that name")
			assert.Subset(t, propertiesOfStruct(t, file, c.sdkArgs), tagged(c.args), "properties that are given")
			assert.Subset(t, propertiesOfStruct(t, file, c.sdkResult), tagged(c.result), "properties that are read")
		})
	}
}

// A filter has the same two properties in both lists that take one.
func TestFilterPropertiesAreThoseOfTheSDK(t *testing.T) {
	folder, _ := sdk(t)
	file := parse(t, filepath.Join(folder, "go/aws/rds/pulumiTypes.go"))
	for _, name := range []string{"GetClustersFilter", "GetInstancesFilter"} {
		assert.ElementsMatch(t, tagged(filter{}), propertiesOfStruct(t, file, name))
	}
}

// What is inside of maps and lists has the names of the SDK's types.
func TestNestedPropertiesAreThoseOfTheSDK(t *testing.T) {
	folder, _ := sdk(t)
	for path, types := range map[string]map[string][]string{
		"s3": {
			"BucketVersioningV2VersioningConfiguration":                                       {"status"},
			"BucketServerSideEncryptionConfigurationV2Rule":                                   {"applyServerSideEncryptionByDefault"},
			"BucketServerSideEncryptionConfigurationV2RuleApplyServerSideEncryptionByDefault": {"sseAlgorithm"},
		},
		"cloudwatch": {
			"LogMetricFilterMetricTransformation": {"namespace", "name", "value", "defaultValue", "dimensions"},
			"MetricAlarmMetricQuery":              {"id", "expression", "label", "returnData", "metric"},
			"MetricAlarmMetricQueryMetric":        {"namespace", "metricName", "dimensions", "period", "stat"},
		},
		"rds": {
			"GetClusterMasterUserSecret":  tagged(masterUserSecret{}),
			"GetInstanceMasterUserSecret": tagged(masterUserSecret{}),
		},
		"signer": {
			"SigningJobSource": {"s3"}, "SigningJobSourceS3": {"bucket", "key", "version"},
			"SigningJobDestination": {"s3"}, "SigningJobDestinationS3": {"bucket", "prefix"},
			"SigningJobSignedObject": {"s3s"}, "SigningJobSignedObjectS3": {"key"},
		},
		"resourcegroupstaggingapi": {
			"GetResourcesTagFilter": {"key", "values"}, "GetResourcesResourceTagMappingList": {"resourceArn"},
		},
	} {
		file := parse(t, filepath.Join(folder, "go/aws", path, "pulumiTypes.go"))
		for name, properties := range types {
			assert.Subset(t, propertiesOfStruct(t, file, name), properties, name)
		}
	}
}

func TestResourcesByTokenAreOfTheSameProviderVersionAsTheSDK(t *testing.T) {
	_, version := sdk(t)
	assert.Equal(t, version, "v"+awsVersion)
}

// sdk returns where the module cache has the provider's SDK, and its version.
func sdk(t *testing.T) (folder, version string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-json", awsSDK).Output()
	require.NoError(t, err, "finding the SDK's source: go mod download %s", awsSDK)
	var module struct{ Dir, Version string }
	require.NoError(t, json.Unmarshal(out, &module))
	require.NotEmpty(t, module.Dir, "the SDK's source is not in the module cache: go mod download %s", awsSDK)
	return module.Dir, module.Version
}

var tokenPattern = regexp.MustCompile(`^aws:([a-z0-9]+)(?:/([A-Za-z0-9]+))?:`)

// sourceOf reads the file of the SDK that declares the token.
func sourceOf(t *testing.T, folder, typeToken string) (string, *ast.File) {
	t.Helper()
	parts := tokenPattern.FindStringSubmatch(typeToken)
	require.NotNil(t, parts, "%s is not of the form aws:module/file:Name", typeToken)
	path := filepath.Join(folder, "go/aws", strings.Replace(parts[1], "index", "", 1), parts[2]+".go")
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(source), parse(t, path)
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	return file
}

// propertiesOfStruct are the pulumi tags in the declaration of that struct.
func propertiesOfStruct(t *testing.T, file *ast.File, name string) []string {
	t.Helper()
	var tags []string
	ast.Inspect(file, func(node ast.Node) bool {
		declared, ok := node.(*ast.TypeSpec)
		if !ok || declared.Name.Name != name {
			return true
		}
		for _, field := range declared.Type.(*ast.StructType).Fields.List {
			if field.Tag != nil {
				tags = append(tags, reflect.StructTag(strings.Trim(field.Tag.Value, "`")).Get("pulumi"))
			}
		}
		return false
	})
	return tags
}

func tagged(value any) []string {
	tags := []string{}
	kind := reflect.TypeOf(value)
	for i := range kind.NumField() {
		if tag := kind.Field(i).Tag.Get("pulumi"); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags
}
