package ec2

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve answers EC2's calls, one after the other, and tells what was asked.
func serve(t *testing.T, answers ...func(http.ResponseWriter)) (*Client, *[]url.Values) {
	t.Helper()
	var asked []url.Values
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, http.MethodPost, r.Method)
		assert.Regexp(t, `^AWS4-HMAC-SHA256 Credential=key/\d{8}/eu-west-1/ec2/aws4_request, SignedHeaders=\S*host\S*, Signature=[0-9a-f]{64}$`, r.Header.Get("Authorization"))
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		form, err := url.ParseQuery(string(body))
		assert.NoError(t, err)
		asked = append(asked, form)
		answers[min(len(asked), len(answers))-1](w)
	}))
	t.Cleanup(server.Close)
	return NewFromConfig(aws.Config{
		Region: "eu-west-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}), &asked
}

func text(status int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// The form is that of the second example of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html,
// and the answer that of its page, shortened.
func TestRulesAreAskedForAndAnsweredAsInTheReference(t *testing.T) {
	client, asked := serve(t, text(http.StatusOK, `<AuthorizeSecurityGroupIngressResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
	<requestId>b1f67202-c2c2-4ba4-8464-c8b1d8f5af7a</requestId><return>true</return>
	<securityGroupRuleSet><item><groupId>sg-112233</groupId><groupOwnerId>111122223333</groupOwnerId><isEgress>false</isEgress><ipProtocol>tcp</ipProtocol>
		<fromPort>22</fromPort><toPort>22</toPort><cidrIpv4>192.0.2.0/24</cidrIpv4><securityGroupRuleId>sgr-01</securityGroupRuleId></item></securityGroupRuleSet>
	</AuthorizeSecurityGroupIngressResponse>`))
	made, err := client.AuthorizeSecurityGroupIngress(t.Context(), &AuthorizeSecurityGroupIngressInput{
		GroupId: aws.String("sg-112233"),
		IpPermissions: []IpPermission{{
			IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22),
			IpRanges: []IpRange{{CidrIp: aws.String("192.0.2.0/24")}, {CidrIp: aws.String("198.51.100.0/24")}},
		}},
	})
	require.NoError(t, err)
	assert.Equal(t, []url.Values{{
		"Action": {"AuthorizeSecurityGroupIngress"}, "Version": {"2016-11-15"}, "GroupId": {"sg-112233"},
		"IpPermissions.1.IpProtocol": {"tcp"}, "IpPermissions.1.FromPort": {"22"}, "IpPermissions.1.ToPort": {"22"},
		"IpPermissions.1.IpRanges.1.CidrIp": {"192.0.2.0/24"}, "IpPermissions.1.IpRanges.2.CidrIp": {"198.51.100.0/24"},
	}}, *asked)
	assert.Equal(t, []SecurityGroupRule{{
		GroupId: aws.String("sg-112233"), IsEgress: aws.Bool(false), IpProtocol: aws.String("tcp"), FromPort: aws.Int32(22), ToPort: aws.Int32(22),
		CidrIpv4: aws.String("192.0.2.0/24"), SecurityGroupRuleId: aws.String("sgr-01"),
	}}, made.SecurityGroupRules)
}

func TestAnErrorHasEC2sCode(t *testing.T) {
	client, asked := serve(t, text(http.StatusBadRequest,
		`<Response><Errors><Error><Code>InvalidGroup.NotFound</Code><Message>The security group 'sg-0' does not exist</Message></Error></Errors><RequestID>abc</RequestID></Response>`))
	_, err := client.DeleteSecurityGroup(t.Context(), &DeleteSecurityGroupInput{GroupId: aws.String("sg-0")})
	var failure smithy.APIError
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, "InvalidGroup.NotFound", failure.ErrorCode())
	assert.EqualError(t, err, "operation error EC2: DeleteSecurityGroup, https response error StatusCode: 400, RequestID: abc, "+
		"api error InvalidGroup.NotFound: The security group 'sg-0' does not exist")
	assert.Len(t, *asked, 1)
}

func TestACallThatIsThrottledIsTriedAgain(t *testing.T) {
	client, asked := serve(t,
		text(http.StatusServiceUnavailable, `<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message></Error></Errors></Response>`),
		text(http.StatusOK, `<DescribeVpcsResponse><vpcSet><item><vpcId>vpc-1</vpcId><isDefault>true</isDefault></item></vpcSet></DescribeVpcsResponse>`))
	found, err := client.DescribeVpcs(t.Context(), &DescribeVpcsInput{Filters: []Filter{{Name: aws.String("tag:owner"), Values: []string{"a", "b"}}}})
	require.NoError(t, err)
	assert.Equal(t, []Vpc{{VpcId: aws.String("vpc-1"), IsDefault: aws.Bool(true)}}, found.Vpcs)
	require.Len(t, *asked, 2)
	assert.Equal(t, url.Values{
		"Action": {"DescribeVpcs"}, "Version": {"2016-11-15"}, "Filter.1.Name": {"tag:owner"}, "Filter.1.Value.1": {"a"}, "Filter.1.Value.2": {"b"},
	}, (*asked)[1])
}
