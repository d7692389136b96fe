package infra

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// Pulumi publishes an archive of its own of a connector, signed by a profile of its own, in these regions:
// https://github.com/pulumi/esc-rotator-lambdas
const (
	publishedKey     = "aws-lambda/latest.zip"
	publishedProfile = "arn:aws:signer:us-west-2:388588623842:/signing-profiles/pulumi_esc_production_20250325212043887700000001/jva5X9nqMa"
)

var publishedRegions = []string{"ca-central-1", "eu-central-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2"}

func publishedBucket(region string) string {
	return "public-esc-rotator-lambdas-production-" + region
}

// checkPublished returns which settings do not go with Pulumi's archive.
func (s *Settings) checkPublished() []problem {
	if !s.Published {
		return nil
	}
	artifact := s.Project + ":lambdaArtifact"
	var problems []problem
	if s.Region != "" && !slices.Contains(publishedRegions, s.Region) {
		problems = append(problems, problem{key: artifact,
			reason:  fmt.Sprintf("is \"published\", and Pulumi publishes no archive in %s", s.Region),
			allowed: "source; or published in one of " + strings.Join(publishedRegions, ", "),
			command: "pulumi config set " + artifact + " source"})
	}
	for _, unfit := range []struct {
		name string
		is   bool
		why  string
	}{
		{"lambdaArchitecture", s.Architecture == "arm64", "is for x86_64"},
		{"databaseSslMode", true, "speaks no TLS to the database"},
		{"databaseCaFile", true, "speaks no TLS to the database"},
		{"codeSigning", !s.CodeSigning, "is signed"},
		{"prepareDatabase", s.PrepareDatabase, "makes no users"},
	} {
		if key := s.Project + ":" + unfit.name; s.given[key] != "" && unfit.is {
			problems = append(problems, problem{key: key,
				reason:  s.shown(key) + ", and lambdaArtifact is \"published\": Pulumi's archive " + unfit.why,
				command: "pulumi config rm " + key + "\n  Or: pulumi config set " + artifact + " source"})
		}
	}
	return problems
}

// warnOfPublished says what the user gives up.
func warnOfPublished(ctx *pulumi.Context) error {
	return ctx.Log.Warn("lambdaArtifact is published: Pulumi's archive speaks no TLS to the database. "+
		"Passwords pass the VPC in clear, and a database that asks for TLS refuses it, as RDS for PostgreSQL does from version 15 on. "+
		"It knows no dry run either, so that keepWarm has no effect, nor has checkDatabase", nil)
}

// published is Pulumi's archive, and no code but what Pulumi has signed.
func (d *deployment) published() (*functionCode, error) {
	config, err := d.enforce("Code of the rotation connector "+d.names.function+", published by Pulumi", pulumi.String(publishedProfile))
	if err != nil {
		return nil, err
	}
	return &functionCode{
		bucket:        pulumi.String(publishedBucket(d.account.Region)),
		key:           pulumi.String(publishedKey),
		signingConfig: config,
	}, nil
}

// updateByESC is what ESC needs to keep Pulumi's archive up to date in the function.
func (d *deployment) updateByESC(functionARN string) []statement {
	return []statement{
		{Sid: "UpdateConnector", Effect: "Allow", Action: []string{"lambda:UpdateFunctionCode"}, Resource: []string{functionARN}},
		{Sid: "ReadPublishedCode", Effect: "Allow", Action: []string{"s3:GetObject"},
			Resource: []string{fmt.Sprintf("arn:%s:s3:::%s/*", d.account.Partition, publishedBucket(d.account.Region))}},
	}
}
