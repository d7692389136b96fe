package infra

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

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
	instanceToken       = "aws:rds/getInstance:getInstance"
	subnetGroupToken    = "aws:rds/getSubnetGroup:getSubnetGroup"
	subnetToken         = "aws:ec2/getSubnet:getSubnet"
	vpcToken            = "aws:ec2/getVpc:getVpc"
	dhcpOptionsToken    = "aws:ec2/getVpcDhcpOptions:getVpcDhcpOptions"

	securityGroupLookupToken  = "aws:ec2/getSecurityGroup:getSecurityGroup"
	logGroupLookupToken       = "aws:cloudwatch/getLogGroup:getLogGroup"
	signingProfileLookupToken = "aws:signer/getSigningProfile:getSigningProfile"
)

type logGroup struct {
	pulumi.CustomResourceState
	Arn pulumi.StringOutput `pulumi:"arn"`
}

type logGroupArgs struct {
	Name            pulumi.StringInput    `pulumi:"name"`
	RetentionInDays pulumi.IntInput       `pulumi:"retentionInDays"`
	Tags            pulumi.StringMapInput `pulumi:"tags"`
}

type logGroupLookupArgs struct {
	Name string `pulumi:"name"`
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
	DbSubnetGroupName   string   `pulumi:"dbSubnetGroupName"`
	Endpoint            string   `pulumi:"endpoint"`
	Engine              string   `pulumi:"engine"`
	EngineVersion       string   `pulumi:"engineVersion"`
	Port                int      `pulumi:"port"`
	ReplicationSource   string   `pulumi:"replicationSourceIdentifier"`
	VpcSecurityGroupIds []string `pulumi:"vpcSecurityGroupIds"`
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
	Port                int      `pulumi:"port"`
	PubliclyAccessible  bool     `pulumi:"publiclyAccessible"`
	ReplicateSourceDb   string   `pulumi:"replicateSourceDb"`
	VpcSecurityGroups   []string `pulumi:"vpcSecurityGroups"`
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

type dhcpOptionsArgs struct {
	DhcpOptionsId string `pulumi:"dhcpOptionsId"`
}

type dhcpOptions struct {
	DomainNameServers []string `pulumi:"domainNameServers"`
}

var (
	// AWS's error codes for what is not there end so, and the provider's own messages say so.
	notFoundPattern = regexp.MustCompile(`(?i)notfound|not found|nosuch|no such|no matching|not exist|no longer exists|empty result|couldn't find|StatusCode: 404`)
	deniedPattern   = regexp.MustCompile(`(?i)accessdenied|access denied|unauthorized|not authorized`)
	// Of credentials that have expired AWS speaks as of a security token.
	credentialsPattern = regexp.MustCompile(`(?i)credential|security token|expiredtoken`)
	actionPattern      = regexp.MustCompile(`(?:perform|authorized to perform):? ([a-z0-9-]+:[A-Za-z]+)`)
)

// isNotFound tells whether AWS answered that what was asked for is not there. A host or credentials that were
// not found are no answer.
func isNotFound(err error) bool {
	if err == nil {
		return false
	}
	message := err.Error()
	answered := !strings.Contains(message, "no such host") && !credentialsPattern.MatchString(message) && !deniedPattern.MatchString(message)
	return answered && notFoundPattern.MatchString(message)
}

// awsCLI is the AWS CLI as it asks the account that the provider asks, for the commands that the program prints.
func awsCLI(ctx *pulumi.Context) string {
	profile, _ := ctx.GetConfig("aws:profile")
	switch {
	case profile == "":
		return "aws"
	case plainWord.MatchString(profile):
		return "aws --profile " + profile
	default:
		return "aws --profile '" + strings.ReplaceAll(profile, "'", `'\''`) + "'"
	}
}

// plainWord is a word that a shell takes as it stands.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@+-]+$`)

// explain adds to an error of AWS what to do about it: action is the IAM action that was needed.
func explain(ctx *pulumi.Context, err error, action string) error {
	message := err.Error()
	switch {
	case deniedPattern.MatchString(message):
		if found := actionPattern.FindStringSubmatch(message); found != nil {
			action = found[1]
		}
		return fmt.Errorf("%w\n  Whoever runs this program needs the IAM permission %s: add it to their role or user", err, action)
	case credentialsPattern.MatchString(message):
		return fmt.Errorf("%w\n  Log in to AWS first, so that this works: %s sts get-caller-identity", err, awsCLI(ctx))
	}
	return err
}

// perRequest matches what differs in AWS's errors of one cause.
var perRequest = regexp.MustCompile(`(?i)request ?id: [0-9A-Za-z-]+|encoded authorization failure message: \S+`)

// together runs the functions side by side, and returns all their errors, those of one cause once.
func together(functions ...func() error) error {
	failures := make([]error, len(functions))
	var group sync.WaitGroup
	for i, f := range functions {
		group.Go(func() { failures[i] = f() })
	}
	group.Wait()
	said := map[string]bool{}
	return errors.Join(slices.DeleteFunc(failures, func(err error) bool {
		if err == nil {
			return true
		}
		cause := perRequest.ReplaceAllString(err.Error(), "")
		again := said[cause]
		said[cause] = true
		return again
	})...)
}
