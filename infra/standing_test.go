package infra

import (
	"testing"

	"esc-connector-lambda-go/infra/archive"

	"github.com/pulumi/pulumi-aws/sdk/v6/go/aws/lambda"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A function that stands is compared with the state: what differs decides whether its code is sent again.
func TestAFunctionThatStandsIsComparedWithTheState(t *testing.T) {
	const job, other = "arn:aws:signer:eu-west-1:111122223333:/signing-jobs/job-1", "arn:aws:signer:eu-west-1:111122223333:/signing-jobs/job-2"
	archive := &archive.Archive{SHA256: "new"}
	for name, c := range map[string]struct {
		hash, key     string
		variables     map[string]any
		changed       string // when, by the state
		live          lambda.LookupFunctionResult
		arrived       bool
		configuration []string
		again         bool
		hashOf        string
		mark          pulumi.StringPtrInput
	}{
		"uploaded, and as it was":             {hash: "new", live: lambda.LookupFunctionResult{CodeSha256: "new"}, arrived: true, hashOf: "new"},
		"uploaded, with newer code to come":   {hash: "old", live: lambda.LookupFunctionResult{CodeSha256: "old"}, arrived: true, hashOf: "new"},
		"uploaded, and refused":               {hash: "new", live: lambda.LookupFunctionResult{CodeSha256: "old"}, again: true, hashOf: "new again"},
		"uploaded, and refused twice":         {hash: "new again", live: lambda.LookupFunctionResult{CodeSha256: "old"}, again: true, hashOf: "new"},
		"uploaded, and taken the second time": {hash: "new again", live: lambda.LookupFunctionResult{CodeSha256: "new"}, arrived: true, hashOf: "new again"},
		"signed, and as it was":               {key: "signed/job-1.zip", live: lambda.LookupFunctionResult{SigningJobArn: job}, arrived: true},
		"signed, and refused":                 {key: "signed/job-2.zip", live: lambda.LookupFunctionResult{SigningJobArn: job}, again: true, mark: pulumi.String("sent again")},
		"signed, and refused twice": {key: "signed/job-2.zip", hash: "sent again", live: lambda.LookupFunctionResult{SigningJobArn: job}, again: true,
			mark: pulumi.String("sent again again")},
		"signed, and refused three times": {key: "signed/job-2.zip", hash: "sent again again", live: lambda.LookupFunctionResult{SigningJobArn: job}, again: true,
			mark: pulumi.String("sent again")},
		"signed, and taken the second time": {key: "signed/job-2.zip", hash: "sent again", live: lambda.LookupFunctionResult{SigningJobArn: other}, arrived: true,
			mark: pulumi.String("sent again")},
		"signed, and AWS does not tell by what job": {key: "signed/job-2.zip", arrived: true},
		"Pulumi's, which ESC keeps up to date":      {key: publishedKey, live: lambda.LookupFunctionResult{SigningJobArn: job}, arrived: true},
		"another configuration, and no code": {hash: "new", variables: map[string]any{"DB_SSLMODE": "require"}, live: lambda.LookupFunctionResult{CodeSha256: "old"},
			configuration: []string{"Environment"}, hashOf: "new"},
		"signed, another configuration, and no code": {key: "signed/job-2.zip", variables: map[string]any{"DB_SSLMODE": "require"}, live: lambda.LookupFunctionResult{SigningJobArn: job},
			configuration: []string{"Environment"}},
		"uploaded, and taken, which failed later":           {hash: "new", changed: "before", live: lambda.LookupFunctionResult{CodeSha256: "new"}, arrived: true, again: true, hashOf: "new again"},
		"uploaded, and taken, which failed later once more": {hash: "new again", changed: "before", live: lambda.LookupFunctionResult{CodeSha256: "new"}, arrived: true, again: true, hashOf: "new"},
		"signed, and taken, which failed later": {key: "signed/job-1.zip", changed: "before", live: lambda.LookupFunctionResult{SigningJobArn: job}, arrived: true, again: true,
			mark: pulumi.String("sent again")},
		"signed for the first time, and refused": {key: "signed/job-1.zip", changed: "", live: lambda.LookupFunctionResult{LastModified: "before"}, arrived: true, again: true,
			mark: pulumi.String("sent again")},
		"another configuration, which failed later, and no code": {hash: "new", changed: "before", variables: map[string]any{"DB_SSLMODE": "require"}, live: lambda.LookupFunctionResult{CodeSha256: "new"},
			arrived: true, configuration: []string{"Environment"}, hashOf: "new"},
	} {
		t.Run(name, func(t *testing.T) {
			was := resourceOutputs{SourceCodeHash: c.hash, S3Key: c.key, LastModified: c.changed}
			if c.variables != nil {
				was.Environment = map[string]any{"variables": c.variables}
			}
			s, err := compared(was, &c.live, "eu-west-1")
			require.NoError(t, err)
			assert.Equal(t, c.arrived, s.arrived(), "arrived")
			assert.Equal(t, c.configuration, s.configuration)
			assert.Equal(t, c.again, s.toSendAgain(), "again")
			if c.key == "" {
				assert.Equal(t, c.hashOf, s.hashOf(archive))
			} else {
				assert.Equal(t, c.mark, s.mark())
			}
		})
	}
}

// Where the provider does not read a function's code signing, it cannot be compared.
func TestCodeSigningIsComparedWhereItIsRead(t *testing.T) {
	was := resourceOutputs{CodeSigningConfigArn: "arn:aws:lambda:eu-west-1:111122223333:code-signing-config:csc-1"}
	for region, want := range map[string][]string{"eu-west-1": {"CodeSigningConfigArn"}, "eu-central-2": nil} {
		s, err := compared(was, &lambda.LookupFunctionResult{}, region)
		require.NoError(t, err)
		assert.Equal(t, want, s.configuration, region)
	}
}

// Without a whole function in the state there is nothing to compare.
func TestAFunctionThatIsNotWholeIsNotCompared(t *testing.T) {
	var none *standing
	assert.False(t, none.toSendAgain())
	assert.Equal(t, "new", none.hashOf(&archive.Archive{SHA256: "new"}))
	assert.Nil(t, none.mark())
}
