package infra

import (
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func byIAM(further map[string]string) map[string]string {
	settings := minimal(map[string]string{"shop:managingAuthentication": "iam", "shop:managingUsername": "Esc_Manager"})
	for key, value := range further {
		settings[key] = value
	}
	return settings
}

// iamCluster is newCloud's cluster with IAM authentication.
func iamCluster(on bool) *cloud {
	c := newCloud()
	plain := c.answers[clusterToken]
	c.answers[clusterToken] = func(args resource.PropertyMap) (map[string]any, error) {
		answer, err := plain(args)
		answer["clusterResourceId"], answer["iamDatabaseAuthenticationEnabled"] = "cluster-ABC", on
		return answer, err
	}
	return c
}

func TestFunctionMayLogInAsTheManagingUserAlone(t *testing.T) {
	c := iamCluster(true)
	require.NoError(t, deploy(t, c, byIAM(nil)))
	assert.JSONEq(t, `{"Version": "2012-10-17", "Statement": [{"Sid": "LogInAsManagingUser", "Effect": "Allow", "Action": ["rds-db:connect"],
		"Resource": ["arn:aws:rds-db:eu-west-1:111122223333:dbuser:cluster-ABC/Esc_Manager"]}]}`, c.input("managingLogin", "policy"))
	assert.Contains(t, c.registered["function"].RegisterRPC.GetDependencies(), "urn:pulumi:dev::shop::aws:iam/rolePolicy:RolePolicy::managingLogin")
	assert.Equal(t, map[string]any{"variables": map[string]any{"DB_MANAGING_AUTH": "iam"}}, c.registered["function"].Inputs["environment"].Mappable())

	c = iamCluster(true)
	require.NoError(t, deploy(t, c, minimal(nil)))
	assert.NotContains(t, c.registered, "managingLogin")
	assert.NotContains(t, c.registered["function"].Inputs, resource.PropertyKey("environment"))

	// In another partition, at a single instance of MariaDB, where the account's host is no part of the user.
	c = newCloud()
	c.answers[partitionToken] = func(resource.PropertyMap) (map[string]any, error) {
		return map[string]any{"partition": "aws-cn", "dnsSuffix": "amazonaws.com.cn"}, nil
	}
	c.answers[clustersToken] = func(resource.PropertyMap) (map[string]any, error) {
		return map[string]any{"clusterIdentifiers": []any{}}, nil
	}
	c.answers[instancesToken] = func(resource.PropertyMap) (map[string]any, error) {
		return map[string]any{"instanceIdentifiers": []any{"orders"}}, nil
	}
	c.answers[instanceToken] = func(resource.PropertyMap) (map[string]any, error) {
		return map[string]any{"address": "orders.abc.eu-west-1.rds.amazonaws.com", "port": 3306, "engine": "mariadb", "dbSubnetGroup": "private",
			"vpcSecurityGroups": []any{"sg-database"}, "resourceId": "db-XYZ"}, nil
	}
	require.NoError(t, deploy(t, c, byIAM(map[string]string{"shop:managingUsername": "esc@10.0.%"})))
	assert.Contains(t, c.input("managingLogin", "policy"), `"arn:aws-cn:rds-db:eu-west-1:111122223333:dbuser:db-XYZ/esc"`)
}

func TestClusterWithoutIAMAuthenticationStopsTheProgramBeforeAnythingIsMade(t *testing.T) {
	c := iamCluster(false)
	err := deploy(t, c, byIAM(nil))
	require.Error(t, err)
	for _, says := range []string{"IAM authentication is off", "nothing was created", "pulumi config set shop:managingAuthentication password",
		"aws rds modify-db-cluster --region eu-west-1 --db-cluster-identifier orders --enable-iam-database-authentication --apply-immediately"} {
		assert.ErrorContains(t, err, says)
	}
	assert.Empty(t, c.registered)
	require.NoError(t, deploy(t, iamCluster(false), minimal(nil)))
}

func TestWhatDoesNotGoWithIAMIsRefusedAllAtOnce(t *testing.T) {
	_, err := readSettings(t, byIAM(map[string]string{
		"shop:databaseSslMode": "require", "shop:managingPassword": "not-to-be-seen", "shop:databaseHost": "db.example.com", "shop:managingUsername": "esc*"}))
	require.Error(t, err)
	for _, says := range []string{
		`shop:databaseSslMode is "require", and managingAuthentication is iam`, "over verified TLS alone",
		"shop:managingPassword is set to a [secret], and managingAuthentication is iam: nobody has that password", "pulumi config rm shop:managingPassword",
		`shop:databaseHost is "db.example.com"`, "its own endpoint alone", `shop:managingUsername is "esc*"`, "for other users, too",
		"pulumi config set shop:managingAuthentication password",
	} {
		assert.ErrorContains(t, err, says)
	}
	assert.NotContains(t, err.Error(), "not-to-be-seen")

	for setting, says := range map[string]string{
		"shop:databaseSslMode": "verified TLS", "shop:managingUsername": "shop:managingUsername is not set", "shop:lambdaArtifact": "logs in by a password",
	} {
		value := map[string]string{"shop:databaseSslMode": "disable", "shop:managingUsername": "", "shop:lambdaArtifact": "published"}[setting]
		settings := byIAM(map[string]string{setting: value})
		settings["aws:region"] = "us-west-2"
		_, err := readSettings(t, settings)
		assert.ErrorContains(t, err, says)
	}

	_, err = readSettings(t, byIAM(map[string]string{"shop:managingUsername": "менеджер"}))
	assert.ErrorContains(t, err, `shop:managingUsername is "менеджер", and managingAuthentication is iam: IAM takes such a letter in no policy`)
	_, err = readSettings(t, byIAM(map[string]string{"shop:managingUsername": "gérante_ÿ"}))
	require.NoError(t, err)
	_, err = readSettings(t, minimal(map[string]string{"shop:managingUsername": "менеджер"}))
	require.NoError(t, err, "no policy names a user with a password")

	elsewhere := byIAM(map[string]string{"shop:databaseHost": "db.example.com", "shop:databaseEngine": "postgres", "shop:vpcId": "vpc-0123456789abcdef0",
		"shop:subnetIds": "subnet-0123456789abcdef0", "shop:databaseSecurityGroupId": "sg-0123456789abcdef0"})
	delete(elsewhere, "shop:rdsDbIdentifier")
	_, err = readSettings(t, elsewhere)
	assert.ErrorContains(t, err, "only databases that RDS runs")

	s, err := readSettings(t, byIAM(map[string]string{"shop:databaseSslMode": "verify-full", "shop:databaseHost": "orders-1.abc.eu-west-1.rds.amazonaws.com"}))
	require.NoError(t, err)
	assert.True(t, s.ManagingIAM)
}
