package infra

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// noSigner is in the provider's error where a service has no endpoint in the region, or one that does not answer.
var noSigner = regexp.MustCompile(`no such host|(?i)i/o timeout|deadline exceeded|connection refused|unknown ?endpoint|not (?:available|supported) in (?:this|the) region`)

// mostObjectTags is S3's: https://docs.aws.amazon.com/AmazonS3/latest/userguide/tagging-managing.html
const mostObjectTags = 10

// checkArchiveTags stops where S3 would refuse the archive, half way: the provider's default tags are its object's too
// (https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/s3/object.go).
func checkArchiveTags(ctx *pulumi.Context, settings *Settings) error {
	text, set := ctx.GetConfig("aws:defaultTags")
	if !set || !settings.CodeSigning || settings.Published {
		return nil
	}
	var common struct{ Tags map[string]string }
	_ = json.Unmarshal([]byte(text), &common) // what it cannot read the provider refuses
	if len(common.Tags) <= mostObjectTags {
		return nil
	}
	return fmt.Errorf("checking that the function's code can be signed (codeSigning): aws:defaultTags has %d tags, and S3 takes %d at most of the object that holds the archive; nothing was created.\n"+
		"  Have fewer default tags\n  Or deploy it unsigned, without that object: pulumi config set %s:codeSigning false", len(common.Tags), mostObjectTags, settings.Project)
}

// signerSlow is how long AWS Signer may take before the program says what it waits for.
const signerSlow = 5 * time.Second

// checkSigner stops where the archive is to be signed and AWS Signer is not offered, or not allowed.
func checkSigner(ctx *pulumi.Context, settings *Settings, last *LastState) error {
	if !settings.CodeSigning || settings.Published || text(last.outputs(signingProfileResource).Name) != "" {
		return nil
	}
	// The provider tries for minutes to reach a host that refuses connections, and for longer one that is silent.
	slow := time.AfterFunc(signerSlow, func() {
		_ = ctx.Log.Info(fmt.Sprintf("AWS Signer does not answer yet in %s. Until that is given up it may take minutes: wait, or interrupt this, and "+
			"deploy the function unsigned: pulumi config set %s:codeSigning false", settings.Region, settings.Project), nil)
	})
	defer slow.Stop()
	var profile struct{}
	// There is no profile of that name. Only what AWS answers matters.
	err := invoke(ctx, signingProfileLookupToken, signingProfileLookupArgs{Name: "esc_connector"}, &profile, "signer:GetSigningProfile")
	switch {
	case err == nil, !noSigner.MatchString(err.Error()) && !deniedPattern.MatchString(err.Error()):
		return nil
	case noSigner.MatchString(err.Error()):
		err = fmt.Errorf("AWS Signer is not reached in %s, where it may not be offered: %w", settings.Region, err)
	}
	return fmt.Errorf("checking that the function's code can be signed (codeSigning): %w\n"+
		"  Where the network is at fault, try again\n  Or deploy it unsigned: pulumi config set %s:codeSigning false", err, settings.Project)
}

// readSigning are the regions in which the provider reads whether a function's code must be signed (signerServiceIsAvailable
// in https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/lambda/function.go).
var readSigning = strings.Fields(`af-south-1 ap-east-1 ap-northeast-1 ap-northeast-2 ap-south-1 ap-southeast-1 ap-southeast-2
	ca-central-1 eu-central-1 eu-north-1 eu-south-1 eu-west-1 eu-west-2 eu-west-3 me-south-1 sa-east-1 us-east-1 us-east-2 us-west-1 us-west-2`)

// unreadSigning warns, at the first update with it, where nobody would see that code signing was taken away.
func unreadSigning(settings *Settings, last *LastState, account *Account) []string {
	signs := settings.CodeSigning || settings.Published
	if !signs || text(last.outputs(codeSigningResource).Arn) != "" || slices.Contains(readSigning, account.Region) {
		return nil
	}
	return []string{fmt.Sprintf("codeSigning is on, but in %s the AWS provider does not read whether a function's code must be signed: "+
		"if somebody takes that away, neither pulumi preview --refresh nor pulumi up notices.\n  To look: %s lambda get-function-code-signing-config --region %s --function-name %s",
		account.Region, account.CLI, account.Region, newNames(settings, last).function)}
}

// functionCode is where Lambda takes the function's code from: an upload or an object in S3.
type functionCode struct {
	upload        pulumi.ArchiveInput
	hash          pulumi.StringPtrInput // of the upload, or a mark of what was sent again
	bucket, key   pulumi.StringPtrInput
	signingConfig pulumi.StringPtrInput // ARN, nil where signatures are not asked for
}

// signed has the archive signed by a profile of the stack's own, whose signature the function's code
// must have from then on. Signer takes objects of versioned buckets only, and never writes over one:
// https://docs.aws.amazon.com/signer/latest/developerguide/lambda-workflow.html
func (d *deployment) signed(archive *archive.Archive) (*functionCode, error) {
	bucket, ready, err := d.bucket()
	if err != nil {
		return nil, err
	}
	var source object
	err = register(d.ctx, objectToken, archiveResource, objectArgs{
		Bucket:     bucket,
		Key:        pulumi.String(d.names.archive),
		Source:     pulumi.NewFileAsset(archive.Path),
		SourceHash: pulumi.String(archive.SHA256),
	}, &source, pulumi.DependsOn(ready), pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return nil, err
	}
	var profile signingProfile
	err = register(d.ctx, signingProfileToken, signingProfileResource, signingProfileArgs{
		// A profile's name is never free again, and knows letters, digits and _ only.
		NamePrefix: pulumi.String("esc_connector_"),
		PlatformId: pulumi.String("AWSLambda-SHA384-ECDSA"),
		Tags:       d.tags,
	}, &profile)
	if err != nil {
		return nil, err
	}
	var job signingJob
	err = register(d.ctx, signingJobToken, signingJobResource, signingJobArgs{
		ProfileName: profile.Name,
		Source:      pulumi.Map{"s3": pulumi.Map{"bucket": bucket, "key": source.Key, "version": d.versioned(bucket, source.VersionId)}},
		Destination: pulumi.Map{"s3": pulumi.Map{"bucket": bucket, "prefix": pulumi.String(signedPrefix)}},
	}, &job)
	if err != nil {
		return nil, err
	}
	config, err := d.enforce("Code of the rotation connector "+d.names.function, profile.VersionArn)
	if err != nil {
		return nil, err
	}
	return &functionCode{bucket: bucket, key: job.key(), hash: d.stands.mark(), signingConfig: config}, nil
}

// archiveKey is where the archive is, or is to be. An object that S3 has kept without a version gets none later, and the
// provider takes it for done. So the next update puts the archive in another place, and a later one leaves it there. No place
// is used again: the old object's deletion may still be to come.
func archiveKey(last *LastState) string {
	const first, next = "unsigned/connector.zip", "unsigned/connector-%d.zip"
	was := text(last.outputs(archiveResource).Key)
	switch number := 1; {
	case was == "":
		return first
	case !unversioned(text(last.outputs(archiveResource).VersionId)):
		return was
	default:
		_, _ = fmt.Sscanf(was, next, &number) // not of the first
		return fmt.Sprintf(next, number+1)
	}
}

// unversioned reports whether an object has no version: S3 calls that null.
func unversioned(version string) bool { return version == "" || version == "null" }

// unsignedError says why the code cannot be signed yet. The SDK wraps it in the names of the inputs that it came by.
type unsignedError struct{ error }

// versioned is the object's version. S3 says that versioning may take 15 minutes until it is on everywhere; what is written
// before has no version: https://docs.aws.amazon.com/AmazonS3/latest/userguide/manage-versioning-examples.html
func (d *deployment) versioned(bucket, version pulumi.StringOutput) pulumi.StringOutput {
	return pulumi.All(bucket, version).ApplyT(func(of []any) (string, error) {
		version := of[1].(string)
		if unversioned(version) {
			return "", unsignedError{fmt.Errorf("signing the function's code: S3 has kept s3://%s/%s without a version, which AWS Signer asks for. "+
				"A new bucket's versioning may take S3 some minutes until it is on everywhere.\n"+
				"  Run pulumi up again in 15 minutes: it uploads the archive anew, in another place of the bucket", of[0], d.names.archive)}
		}
		return version, nil
	}).(pulumi.StringOutput)
}

// bucket is a private bucket for the archive, before and after it is signed. It answers the bucket's
// name, and what must be there before an object is.
func (d *deployment) bucket() (pulumi.StringOutput, []pulumi.Resource, error) {
	var made bucket
	err := register(d.ctx, bucketToken, bucketResource, bucketArgs{
		BucketPrefix: pulumi.String("esc-connector-"),
		ForceDestroy: pulumi.Bool(true),
		Tags:         d.tags,
	}, &made)
	if err != nil {
		return pulumi.StringOutput{}, nil, err
	}
	name := made.ID().ToStringOutput()
	var versioning, access, encryption, tls bucketPart
	err = register(d.ctx, bucketVersioningToken, bucketVersioningResource, bucketVersioningArgs{
		Bucket:                  name,
		VersioningConfiguration: pulumi.Map{"status": pulumi.String("Enabled")},
	}, &versioning, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return name, nil, err
	}
	err = register(d.ctx, publicAccessBlockToken, bucketAccessResource, publicAccessBlockArgs{
		Bucket:                name,
		BlockPublicAcls:       pulumi.Bool(true),
		BlockPublicPolicy:     pulumi.Bool(true),
		IgnorePublicAcls:      pulumi.Bool(true),
		RestrictPublicBuckets: pulumi.Bool(true),
	}, &access, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return name, nil, err
	}
	err = register(d.ctx, bucketEncryptionToken, bucketEncryptionResource, bucketEncryptionArgs{
		Bucket: name,
		Rules: pulumi.Array{pulumi.Map{
			"applyServerSideEncryptionByDefault": pulumi.Map{"sseAlgorithm": pulumi.String("AES256")},
		}},
	}, &encryption, pulumi.DeleteBeforeReplace(true))
	if err != nil {
		return name, nil, err
	}
	// S3 refuses to change a bucket's policy and its public access at the same time.
	err = register(d.ctx, bucketPolicyToken, bucketPolicyResource, bucketPolicyArgs{
		Bucket: name,
		Policy: name.ApplyT(func(name string) (string, error) {
			arn := fmt.Sprintf("arn:%s:s3:::%s", d.account.Partition, name)
			return newPolicy(statement{
				Sid: "OnlyByTLS", Effect: "Deny", Principal: map[string]string{"AWS": "*"}, Action: []string{"s3:*"},
				Resource:  []string{arn, arn + "/*"},
				Condition: conditions{"Bool": {"aws:SecureTransport": "false"}},
			}).json()
		}).(pulumi.StringOutput),
	}, &tls, pulumi.DependsOn([]pulumi.Resource{&access}), pulumi.DeleteBeforeReplace(true))
	return name, []pulumi.Resource{&versioning, &encryption, &tls}, err
}

// enforce has Lambda refuse code that is not signed by that version of a signing profile.
func (d *deployment) enforce(description string, publisher pulumi.StringInput) (pulumi.StringPtrInput, error) {
	config, err := lambda.NewCodeSigningConfig(d.ctx, codeSigningResource, &lambda.CodeSigningConfigArgs{
		Description:       pulumi.String(description),
		AllowedPublishers: lambda.CodeSigningConfigAllowedPublishersArgs{SigningProfileVersionArns: pulumi.StringArray{publisher}},
		Policies:          lambda.CodeSigningConfigPoliciesArgs{UntrustedArtifactOnDeployment: pulumi.String("Enforce")},
		Tags:              d.tags,
	})
	if err != nil {
		return nil, fmt.Errorf("registering the function's code signing configuration: %w", err)
	}
	return config.Arn, nil
}

// key is the signed object's.
func (j *signingJob) key() pulumi.StringOutput {
	return j.SignedObjects.ApplyT(func(objects []signedObject) string {
		for _, signed := range objects {
			for _, object := range signed.S3s {
				return object.Key
			}
		}
		return ""
	}).(pulumi.StringOutput)
}
