package infra

import (
	"fmt"
	"regexp"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// noSigner is in the provider's error where a service has no endpoint in the region, or one that does not answer.
var noSigner = regexp.MustCompile(`no such host|(?i)i/o timeout|deadline exceeded|connection refused|unknown ?endpoint|not (?:available|supported) in (?:this|the) region`)

// checkSigner stops where the archive is to be signed and AWS Signer is not offered, or not allowed.
func checkSigner(ctx *pulumi.Context, settings *Settings, last *LastState) error {
	if !settings.CodeSigning || settings.Published || last.resources["signingProfile"].Name != "" {
		return nil
	}
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

// functionCode is where Lambda takes the function's code from: an upload or an object in S3.
type functionCode struct {
	upload        pulumi.ArchiveInput
	hash          pulumi.StringPtrInput // of the upload
	bucket, key   pulumi.StringPtrInput
	signingConfig pulumi.StringPtrInput // ARN, nil where signatures are not asked for
}

// signed has the archive signed by a profile of the stack's own, whose signature the function's code
// must have from then on. Signer takes objects of versioned buckets only, and never writes over one:
// https://docs.aws.amazon.com/signer/latest/developerguide/lambda-workflow.html
func (d *deployment) signed(archive *Archive) (*functionCode, error) {
	bucket, ready, err := d.bucket()
	if err != nil {
		return nil, err
	}
	var source object
	err = register(d.ctx, objectToken, "archive", objectArgs{
		Bucket:     bucket,
		Key:        pulumi.String("unsigned/connector.zip"),
		Source:     pulumi.NewFileAsset(archive.Path),
		SourceHash: pulumi.String(archive.SHA256),
	}, &source, pulumi.DependsOn(ready))
	if err != nil {
		return nil, err
	}
	var profile signingProfile
	err = register(d.ctx, signingProfileToken, "signingProfile", signingProfileArgs{
		// A profile's name is never free again, and knows letters, digits and _ only.
		NamePrefix: pulumi.String("esc_connector_"),
		PlatformId: pulumi.String("AWSLambda-SHA384-ECDSA"),
		Tags:       d.tags,
	}, &profile)
	if err != nil {
		return nil, err
	}
	var job signingJob
	err = register(d.ctx, signingJobToken, "signingJob", signingJobArgs{
		ProfileName: profile.Name,
		Source:      pulumi.Map{"s3": pulumi.Map{"bucket": bucket, "key": source.Key, "version": source.VersionId}},
		Destination: pulumi.Map{"s3": pulumi.Map{"bucket": bucket, "prefix": pulumi.String("signed/")}},
	}, &job)
	if err != nil {
		return nil, err
	}
	config, err := d.enforce("Code of the rotation connector "+d.names.function, profile.VersionArn)
	if err != nil {
		return nil, err
	}
	return &functionCode{bucket: bucket, key: job.key(), signingConfig: config}, nil
}

// bucket is a private bucket for the archive, before and after it is signed. It answers the bucket's
// name, and what must be there before an object is.
func (d *deployment) bucket() (pulumi.StringOutput, []pulumi.Resource, error) {
	var made bucket
	err := register(d.ctx, bucketToken, "archives", bucketArgs{
		BucketPrefix: pulumi.String("esc-connector-"),
		ForceDestroy: pulumi.Bool(true),
		Tags:         d.tags,
	}, &made)
	if err != nil {
		return pulumi.StringOutput{}, nil, err
	}
	name := made.ID().ToStringOutput()
	var versioning, access, encryption, tls bucketPart
	err = register(d.ctx, bucketVersioningToken, "archivesVersioning", bucketVersioningArgs{
		Bucket:                  name,
		VersioningConfiguration: pulumi.Map{"status": pulumi.String("Enabled")},
	}, &versioning)
	if err != nil {
		return name, nil, err
	}
	err = register(d.ctx, publicAccessBlockToken, "archivesPublicAccessBlock", publicAccessBlockArgs{
		Bucket:                name,
		BlockPublicAcls:       pulumi.Bool(true),
		BlockPublicPolicy:     pulumi.Bool(true),
		IgnorePublicAcls:      pulumi.Bool(true),
		RestrictPublicBuckets: pulumi.Bool(true),
	}, &access)
	if err != nil {
		return name, nil, err
	}
	err = register(d.ctx, bucketEncryptionToken, "archivesEncryption", bucketEncryptionArgs{
		Bucket: name,
		Rules: pulumi.Array{pulumi.Map{
			"applyServerSideEncryptionByDefault": pulumi.Map{"sseAlgorithm": pulumi.String("AES256")},
		}},
	}, &encryption)
	if err != nil {
		return name, nil, err
	}
	// S3 refuses to change a bucket's policy and its public access at the same time.
	err = register(d.ctx, bucketPolicyToken, "archivesPolicy", bucketPolicyArgs{
		Bucket: name,
		Policy: name.ApplyT(func(name string) (string, error) {
			arn := fmt.Sprintf("arn:%s:s3:::%s", d.account.Partition, name)
			return newPolicy(statement{
				Sid: "OnlyByTLS", Effect: "Deny", Principal: map[string]string{"AWS": "*"}, Action: []string{"s3:*"},
				Resource:  []string{arn, arn + "/*"},
				Condition: conditions{"Bool": {"aws:SecureTransport": "false"}},
			}).json()
		}).(pulumi.StringOutput),
	}, &tls, pulumi.DependsOn([]pulumi.Resource{&access}))
	return name, []pulumi.Resource{&versioning, &encryption, &tls}, err
}

// enforce has Lambda refuse code that is not signed by that version of a signing profile.
func (d *deployment) enforce(description string, publisher pulumi.StringInput) (pulumi.StringPtrInput, error) {
	config, err := lambda.NewCodeSigningConfig(d.ctx, "codeSigningConfig", &lambda.CodeSigningConfigArgs{
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
