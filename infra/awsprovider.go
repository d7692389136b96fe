package infra

import (
	"fmt"
	"reflect"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// The resources and functions of AWS that this file names by their token come from packages of the
// provider's SDK that are large: to compile aws/ec2 alone takes more memory than a small build
// machine has. Only the properties that the program uses are declared, each under its name in the
// provider, and a test compares them with the SDK's source.

// awsVersion is the version of the provider, the same as the SDK's in go.mod: with another one, or with
// none, these resources would be another provider's than those of the SDK's packages.
const awsVersion = "6.83.0"

const (
	eventRuleToken     = "aws:cloudwatch/eventRule:EventRule"
	eventTargetToken   = "aws:cloudwatch/eventTarget:EventTarget"
	logGroupToken      = "aws:cloudwatch/logGroup:LogGroup"
	metricAlarmToken   = "aws:cloudwatch/metricAlarm:MetricAlarm"
	metricFilterToken  = "aws:cloudwatch/logMetricFilter:LogMetricFilter"
	securityGroupToken = "aws:ec2/securityGroup:SecurityGroup"
	egressRuleToken    = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule"
	ingressRuleToken   = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"

	bucketToken            = "aws:s3/bucketV2:BucketV2"
	bucketVersioningToken  = "aws:s3/bucketVersioningV2:BucketVersioningV2"
	publicAccessBlockToken = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
	bucketEncryptionToken  = "aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2"
	bucketPolicyToken      = "aws:s3/bucketPolicy:BucketPolicy"
	objectToken            = "aws:s3/bucketObjectv2:BucketObjectv2"
	signingProfileToken    = "aws:signer/signingProfile:SigningProfile"
	signingJobToken        = "aws:signer/signingJob:SigningJob"

	callerIdentityToken = "aws:index/getCallerIdentity:getCallerIdentity"
	partitionToken      = "aws:index/getPartition:getPartition"
	clustersToken       = "aws:rds/getClusters:getClusters"
	clusterToken        = "aws:rds/getCluster:getCluster"
	instancesToken      = "aws:rds/getInstances:getInstances"
	invocationToken     = "aws:lambda/getInvocation:getInvocation"
	secretVersionToken  = "aws:secretsmanager/getSecretVersion:getSecretVersion"
	instanceToken       = "aws:rds/getInstance:getInstance"
	subnetGroupToken    = "aws:rds/getSubnetGroup:getSubnetGroup"
	subnetToken         = "aws:ec2/getSubnet:getSubnet"
	vpcToken            = "aws:ec2/getVpc:getVpc"
	dhcpOptionsToken    = "aws:ec2/getVpcDhcpOptions:getVpcDhcpOptions"

	securityGroupLookupToken  = "aws:ec2/getSecurityGroup:getSecurityGroup"
	bucketLookupToken         = "aws:s3/getBucket:getBucket"
	taggedLookupToken         = "aws:resourcegroupstaggingapi/getResources:getResources"
	rulesLookupToken          = "aws:vpc/getSecurityGroupRules:getSecurityGroupRules"
	ruleLookupToken           = "aws:vpc/getSecurityGroupRule:getSecurityGroupRule"
	logGroupLookupToken       = "aws:cloudwatch/getLogGroup:getLogGroup"
	signingProfileLookupToken = "aws:signer/getSigningProfile:getSigningProfile"
)

type logGroup struct {
	pulumi.CustomResourceState
}

type logGroupArgs struct {
	Name            pulumi.StringInput    `pulumi:"name"`
	RetentionInDays pulumi.IntInput       `pulumi:"retentionInDays"`
	Tags            pulumi.StringMapInput `pulumi:"tags"`
}

type logGroupLookupArgs struct {
	Name string `pulumi:"name"`
}

type foundLogGroup struct {
	Tags map[string]string `pulumi:"tags"`
}

type metricFilter struct {
	pulumi.CustomResourceState
}

type metricFilterArgs struct {
	Name                 pulumi.StringInput `pulumi:"name"`
	LogGroupName         pulumi.StringInput `pulumi:"logGroupName"`
	Pattern              pulumi.StringInput `pulumi:"pattern"`
	MetricTransformation pulumi.MapInput    `pulumi:"metricTransformation"` // {namespace, name, value, defaultValue, dimensions}
}

type metricAlarm struct {
	pulumi.CustomResourceState
}

// metricAlarmArgs are those of an alarm on one metric, or on an expression.
type metricAlarmArgs struct {
	Name               pulumi.StringInput      `pulumi:"name"`
	AlarmDescription   pulumi.StringInput      `pulumi:"alarmDescription"`
	Namespace          pulumi.StringInput      `pulumi:"namespace"`
	MetricName         pulumi.StringInput      `pulumi:"metricName"`
	Dimensions         pulumi.StringMapInput   `pulumi:"dimensions"`
	Statistic          pulumi.StringInput      `pulumi:"statistic"`
	Period             pulumi.IntInput         `pulumi:"period"`
	MetricQueries      pulumi.ArrayInput       `pulumi:"metricQueries"` // [{id, expression, label, returnData, metric: {namespace, metricName, dimensions, period, stat}}]
	ComparisonOperator pulumi.StringInput      `pulumi:"comparisonOperator"`
	Threshold          pulumi.Float64Input     `pulumi:"threshold"`
	EvaluationPeriods  pulumi.IntInput         `pulumi:"evaluationPeriods"`
	TreatMissingData   pulumi.StringInput      `pulumi:"treatMissingData"`
	AlarmActions       pulumi.StringArrayInput `pulumi:"alarmActions"`
	OkActions          pulumi.StringArrayInput `pulumi:"okActions"`
	Tags               pulumi.StringMapInput   `pulumi:"tags"`
}

type eventRule struct {
	pulumi.CustomResourceState
	Name pulumi.StringOutput `pulumi:"name"`
}

type eventRuleArgs struct {
	Name               pulumi.StringInput    `pulumi:"name"`
	Description        pulumi.StringInput    `pulumi:"description"`
	ScheduleExpression pulumi.StringInput    `pulumi:"scheduleExpression"`
	State              pulumi.StringInput    `pulumi:"state"`
	Tags               pulumi.StringMapInput `pulumi:"tags"`
}

type eventTarget struct {
	pulumi.CustomResourceState
}

type eventTargetArgs struct {
	TargetId pulumi.StringInput `pulumi:"targetId"`
	Rule     pulumi.StringInput `pulumi:"rule"`
	Arn      pulumi.StringInput `pulumi:"arn"`
	Input    pulumi.StringInput `pulumi:"input"`
}

type securityGroup struct {
	pulumi.CustomResourceState
}

type securityGroupArgs struct {
	Description pulumi.StringInput    `pulumi:"description"`
	VpcId       pulumi.StringInput    `pulumi:"vpcId"`
	Tags        pulumi.StringMapInput `pulumi:"tags"`
}

// securityGroupRule is an egress or an ingress rule: to or from the referenced group.
type securityGroupRule struct {
	pulumi.CustomResourceState
}

type securityGroupRuleArgs struct {
	Description               pulumi.StringInput    `pulumi:"description"`
	SecurityGroupId           pulumi.StringInput    `pulumi:"securityGroupId"`
	ReferencedSecurityGroupId pulumi.StringInput    `pulumi:"referencedSecurityGroupId"`
	CidrIpv4                  pulumi.StringInput    `pulumi:"cidrIpv4"`
	CidrIpv6                  pulumi.StringInput    `pulumi:"cidrIpv6"`
	IpProtocol                pulumi.StringInput    `pulumi:"ipProtocol"`
	FromPort                  pulumi.IntInput       `pulumi:"fromPort"`
	ToPort                    pulumi.IntInput       `pulumi:"toPort"`
	Tags                      pulumi.StringMapInput `pulumi:"tags"`
}

type bucket struct {
	pulumi.CustomResourceState
}

type bucketArgs struct {
	BucketPrefix pulumi.StringInput    `pulumi:"bucketPrefix"`
	ForceDestroy pulumi.BoolInput      `pulumi:"forceDestroy"`
	Tags         pulumi.StringMapInput `pulumi:"tags"`
}

// bucketPart is one of the resources that set up a bucket.
type bucketPart struct {
	pulumi.CustomResourceState
}

type bucketVersioningArgs struct {
	Bucket                  pulumi.StringInput `pulumi:"bucket"`
	VersioningConfiguration pulumi.MapInput    `pulumi:"versioningConfiguration"` // {status}
}

type publicAccessBlockArgs struct {
	Bucket                pulumi.StringInput `pulumi:"bucket"`
	BlockPublicAcls       pulumi.BoolInput   `pulumi:"blockPublicAcls"`
	BlockPublicPolicy     pulumi.BoolInput   `pulumi:"blockPublicPolicy"`
	IgnorePublicAcls      pulumi.BoolInput   `pulumi:"ignorePublicAcls"`
	RestrictPublicBuckets pulumi.BoolInput   `pulumi:"restrictPublicBuckets"`
}

type bucketEncryptionArgs struct {
	Bucket pulumi.StringInput `pulumi:"bucket"`
	Rules  pulumi.ArrayInput  `pulumi:"rules"` // [{applyServerSideEncryptionByDefault: {sseAlgorithm}}]
}

type bucketPolicyArgs struct {
	Bucket pulumi.StringInput `pulumi:"bucket"`
	Policy pulumi.StringInput `pulumi:"policy"`
}

type object struct {
	pulumi.CustomResourceState
	Key       pulumi.StringOutput `pulumi:"key"`
	VersionId pulumi.StringOutput `pulumi:"versionId"`
}

type objectArgs struct {
	Bucket     pulumi.StringInput         `pulumi:"bucket"`
	Key        pulumi.StringInput         `pulumi:"key"`
	Source     pulumi.AssetOrArchiveInput `pulumi:"source"`
	SourceHash pulumi.StringInput         `pulumi:"sourceHash"`
}

type signingProfile struct {
	pulumi.CustomResourceState
	Name       pulumi.StringOutput `pulumi:"name"`
	VersionArn pulumi.StringOutput `pulumi:"versionArn"`
}

type signingProfileArgs struct {
	NamePrefix pulumi.StringInput    `pulumi:"namePrefix"`
	PlatformId pulumi.StringInput    `pulumi:"platformId"`
	Tags       pulumi.StringMapInput `pulumi:"tags"`
}

type signingProfileLookupArgs struct {
	Name string `pulumi:"name"`
}

type foundSigningProfile struct {
	Status string `pulumi:"status"`
}

type signingJob struct {
	pulumi.CustomResourceState
	SignedObjects signedObjectsOutput `pulumi:"signedObjects"`
}

type signingJobArgs struct {
	ProfileName pulumi.StringInput `pulumi:"profileName"`
	Source      pulumi.MapInput    `pulumi:"source"`      // {s3: {bucket, key, version}}
	Destination pulumi.MapInput    `pulumi:"destination"` // {s3: {bucket, prefix}}
}

type signedObject struct {
	S3s []struct {
		Key string `pulumi:"key"`
	} `pulumi:"s3s"`
}

type signedObjectsOutput struct{ *pulumi.OutputState }

func (signedObjectsOutput) ElementType() reflect.Type { return reflect.TypeFor[[]signedObject]() }

func init() { pulumi.RegisterOutputType(signedObjectsOutput{}) }

// register registers the resource of that type token with the properties that the fields of args
// name in their tags.
func register(ctx *pulumi.Context, token, name string, args any, resource pulumi.CustomResource,
	options ...pulumi.ResourceOption,
) error {
	properties := pulumi.Map{}
	value := reflect.ValueOf(args)
	for i := range value.NumField() {
		if input, ok := value.Field(i).Interface().(pulumi.Input); ok {
			properties[value.Type().Field(i).Tag.Get("pulumi")] = input
		}
	}
	options = append(options, pulumi.Version(awsVersion))
	if err := ctx.RegisterResource(token, name, properties, resource, options...); err != nil {
		return fmt.Errorf("registering %s %q: %w", token, name, err)
	}
	return nil
}

// invoke asks the provider; action is the IAM action that it needs, for the error of who may not.
func invoke(ctx *pulumi.Context, token string, args, result any, action string) error {
	if err := ctx.Invoke(token, args, result, pulumi.Version(awsVersion)); err != nil {
		return explain(ctx, err, action)
	}
	return nil
}

type noArgs struct{}

type callerIdentity struct {
	AccountId string `pulumi:"accountId"`
}

type partition struct {
	Partition string `pulumi:"partition"`
}

type filter struct {
	Name   string   `pulumi:"name"`
	Values []string `pulumi:"values"`
}

type filterArgs struct {
	Filters []filter `pulumi:"filters"`
}

type clusterList struct {
	ClusterIdentifiers []string `pulumi:"clusterIdentifiers"`
}

type clusterArgs struct {
	ClusterIdentifier string `pulumi:"clusterIdentifier"`
}

type cluster struct {
	ClusterMembers      []string `pulumi:"clusterMembers"`
	ClusterResourceId   string   `pulumi:"clusterResourceId"`
	IAMEnabled          bool     `pulumi:"iamDatabaseAuthenticationEnabled"`
	DbSubnetGroupName   string   `pulumi:"dbSubnetGroupName"`
	Endpoint            string   `pulumi:"endpoint"`
	Engine              string   `pulumi:"engine"`
	EngineVersion       string   `pulumi:"engineVersion"`
	MasterUsername      string   `pulumi:"masterUsername"`
	Port                int      `pulumi:"port"`
	ReplicationSource   string   `pulumi:"replicationSourceIdentifier"`
	VpcSecurityGroupIds []string `pulumi:"vpcSecurityGroupIds"`

	MasterUserSecrets []masterUserSecret `pulumi:"masterUserSecrets"`
}

// masterUserSecret is where RDS keeps the master user's password.
type masterUserSecret struct {
	SecretArn    string `pulumi:"secretArn"`
	SecretStatus string `pulumi:"secretStatus"`
}

type instanceList struct {
	InstanceIdentifiers []string `pulumi:"instanceIdentifiers"`
}

type instanceArgs struct {
	DbInstanceIdentifier string `pulumi:"dbInstanceIdentifier"`
}

type instance struct {
	Address             string   `pulumi:"address"`
	DbClusterIdentifier string   `pulumi:"dbClusterIdentifier"`
	DbSubnetGroup       string   `pulumi:"dbSubnetGroup"`
	Engine              string   `pulumi:"engine"`
	EngineVersion       string   `pulumi:"engineVersion"`
	MasterUsername      string   `pulumi:"masterUsername"`
	Port                int      `pulumi:"port"`
	PubliclyAccessible  bool     `pulumi:"publiclyAccessible"`
	ReplicateSourceDb   string   `pulumi:"replicateSourceDb"`
	ResourceId          string   `pulumi:"resourceId"`
	VpcSecurityGroups   []string `pulumi:"vpcSecurityGroups"`

	MasterUserSecrets []masterUserSecret `pulumi:"masterUserSecrets"`
}

type invocationArgs struct {
	FunctionName string `pulumi:"functionName"`
	Input        any    `pulumi:"input"` // a text, see markedSecret
}

type invocation struct {
	Result string `pulumi:"result"`
}

type secretVersionArgs struct {
	SecretId string `pulumi:"secretId"`
}

type secretVersion struct {
	SecretString string `pulumi:"secretString"`
}

type subnetGroupArgs struct {
	Name string `pulumi:"name"`
}

type subnetGroup struct {
	SubnetIds []string `pulumi:"subnetIds"`
	VpcId     string   `pulumi:"vpcId"`
}

type subnetArgs struct {
	Id string `pulumi:"id"`
}

type subnet struct {
	Id                      string `pulumi:"id"`
	AvailabilityZone        string `pulumi:"availabilityZone"`
	AvailableIpAddressCount *int   `pulumi:"availableIpAddressCount"`
	Ipv6CidrBlock           string `pulumi:"ipv6CidrBlock"`
	Ipv6Native              bool   `pulumi:"ipv6Native"`
	VpcId                   string `pulumi:"vpcId"`
}

type vpcArgs struct {
	Id string `pulumi:"id"`
}

type vpc struct {
	EnableDnsSupport *bool  `pulumi:"enableDnsSupport"`
	InstanceTenancy  string `pulumi:"instanceTenancy"`
	OwnerId          string `pulumi:"ownerId"`
	DhcpOptionsId    string `pulumi:"dhcpOptionsId"`
}

// securityGroupLookupArgs are an ID, or a name and a VPC.
type securityGroupLookupArgs struct {
	Id    string `pulumi:"id"`
	Name  string `pulumi:"name"`
	VpcId string `pulumi:"vpcId"`
}

type foundSecurityGroup struct {
	Id string `pulumi:"id"`
}

type bucketLookupArgs struct {
	Bucket string `pulumi:"bucket"`
}

type tagFilter struct {
	Key    string   `pulumi:"key"`
	Values []string `pulumi:"values"`
}

type taggedArgs struct {
	TagFilters []tagFilter `pulumi:"tagFilters"`
}

type taggedList struct {
	ResourceTagMappingLists []struct {
		ResourceArn string `pulumi:"resourceArn"`
	} `pulumi:"resourceTagMappingLists"`
}

// rulesArgs are one of them.
type rulesArgs struct {
	Filters []filter          `pulumi:"filters"`
	Tags    map[string]string `pulumi:"tags"`
}

type ruleList struct {
	Ids []string `pulumi:"ids"`
}

type ruleArgs struct {
	SecurityGroupRuleId string `pulumi:"securityGroupRuleId"`
}

// foundRule is a rule of a security group that AWS has.
type foundRule struct {
	CidrIpv4                  string `pulumi:"cidrIpv4"`
	CidrIpv6                  string `pulumi:"cidrIpv6"`
	IpProtocol                string `pulumi:"ipProtocol"`
	IsEgress                  bool   `pulumi:"isEgress"`
	ReferencedSecurityGroupId string `pulumi:"referencedSecurityGroupId"`
	SecurityGroupId           string `pulumi:"securityGroupId"`
	SecurityGroupRuleId       string `pulumi:"securityGroupRuleId"`
}

type dhcpOptionsArgs struct {
	DhcpOptionsId string `pulumi:"dhcpOptionsId"`
}

type dhcpOptions struct {
	DomainNameServers []string `pulumi:"domainNameServers"`
}
