package road

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// Master is a master user whose password RDS keeps.
type Master struct {
	Username, Password string
	// CustomersKey says that a key of the customer's in KMS encrypts it, and not AWS's own.
	CustomersKey bool
	// Instance says that it is an instance's, and not a cluster's.
	Instance bool
}

// KeepMaster lets RDS keep the password of a database's master user in Secrets Manager, as its modification by
// ManageMasterUserPassword does. moto makes up a password and a name; the server has them by the caller.
func (c *Cloud) KeepMaster(ctx context.Context, identifier string, master Master) error {
	secret, err := c.keepMaster(ctx, identifier, master)
	if err == nil && secret == nil {
		err = errors.New("moto tells of no secret")
	}
	if err == nil {
		var text []byte
		text, err = json.Marshal(map[string]string{"username": master.Username, "password": master.Password})
		if err == nil {
			err = c.AWS.PutSecret(ctx, Region, aws.ToString(secret.SecretArn), string(text))
		}
	}
	if err != nil {
		return fmt.Errorf("letting RDS keep the master password of %s: %w", identifier, err)
	}
	return nil
}

func (c *Cloud) keepMaster(ctx context.Context, identifier string, master Master) (*types.MasterUserSecret, error) {
	databases := rds.NewFromConfig(c.config())
	var key *string
	if master.CustomersKey {
		made, err := kms.NewFromConfig(c.config()).CreateKey(ctx, &kms.CreateKeyInput{})
		if err != nil {
			return nil, err
		}
		key = made.KeyMetadata.KeyId
	}
	if master.Instance {
		_, err := databases.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{
			DBInstanceIdentifier: &identifier, ManageMasterUserPassword: aws.Bool(true), MasterUserSecretKmsKeyId: key,
		})
		if err != nil {
			return nil, err
		}
		// The first look finds the secret in creation.
		found, err := databases.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &identifier})
		if err != nil {
			return nil, err
		}
		return found.DBInstances[0].MasterUserSecret, nil
	}
	_, err := databases.ModifyDBCluster(ctx, &rds.ModifyDBClusterInput{
		DBClusterIdentifier: &identifier, ManageMasterUserPassword: aws.Bool(true), MasterUserSecretKmsKeyId: key,
	})
	if err != nil {
		return nil, err
	}
	found, err := databases.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &identifier})
	if err != nil {
		return nil, err
	}
	return found.DBClusters[0].MasterUserSecret, nil
}

// Empty are the statements of whoever makes a database for somebody else: an empty one, and a master user with what RDS gives to
// one. On PostgreSQL that is no superuser
// (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Appendix.PostgreSQL.CommonDBATasks.Roles.html), and on MySQL and MariaDB
// one without SUPER (https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.MasterAccounts.html).
func Empty(engine, database, master, password string) []string {
	if engine == Postgres {
		return []string{
			"CREATE ROLE " + quoted(master, `"`) + " LOGIN CREATEROLE CREATEDB PASSWORD " + text(engine, password),
			"CREATE DATABASE " + quoted(database, `"`) + " OWNER " + quoted(master, `"`),
		}
	}
	user := text(engine, master) + "@'%'"
	return []string{
		"CREATE DATABASE " + quoted(database, "`"),
		"CREATE USER " + user + " IDENTIFIED BY " + text(engine, password),
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER, SHOW DATABASES, " +
			"CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, " +
			"ALTER ROUTINE, CREATE USER, EVENT, TRIGGER ON *.* TO " + user + " WITH GRANT OPTION",
	}
}

// quoted is a name as SQL has it.
func quoted(name, quote string) string {
	return quote + strings.ReplaceAll(name, quote, quote+quote) + quote
}

// text is a text as SQL has it.
func text(engine, value string) string {
	if engine == MySQL {
		value = strings.ReplaceAll(value, `\`, `\\`)
	}
	return "'" + strings.ReplaceAll(value, "'", "''") + "'"
}
