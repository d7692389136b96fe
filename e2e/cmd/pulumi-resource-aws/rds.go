package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

func rdsFilters(args resource.PropertyMap) ([]types.Filter, error) {
	var in filterInputs
	if err := decode(args, &in); err != nil {
		return nil, err
	}
	var filters []types.Filter
	for _, filter := range in.Filters {
		filters = append(filters, types.Filter{Name: aws.String(filter.Name), Values: filter.Values})
	}
	return filters, nil
}

func (c *clients) getClusters(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	filters, err := rdsFilters(args)
	if err != nil {
		return nil, err
	}
	found, err := c.rds.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("reading RDS Clusters: %w", err)
	}
	arns, identifiers := []string{}, []string{}
	for _, cluster := range found.DBClusters {
		arns = append(arns, *cluster.DBClusterArn)
		identifiers = append(identifiers, *cluster.DBClusterIdentifier)
	}
	return properties(map[string]any{"id": c.region, "clusterArns": arns, "clusterIdentifiers": identifiers}), nil
}

func (c *clients) getCluster(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	identifier := args["clusterIdentifier"].StringValue()
	found, err := c.rds.DescribeDBClusters(ctx, &rds.DescribeDBClustersInput{DBClusterIdentifier: &identifier})
	if err != nil {
		return nil, fmt.Errorf("reading RDS Cluster (%s): %w", identifier, err)
	}
	cluster := found.DBClusters[0]
	var groups, members []string
	for _, group := range cluster.VpcSecurityGroups {
		groups = append(groups, *group.VpcSecurityGroupId)
	}
	for _, member := range cluster.DBClusterMembers {
		members = append(members, *member.DBInstanceIdentifier)
	}
	return properties(map[string]any{
		"id": cluster.DBClusterIdentifier, "arn": cluster.DBClusterArn, "clusterIdentifier": cluster.DBClusterIdentifier,
		"clusterMembers": unordered(members), "clusterResourceId": aws.ToString(cluster.DbClusterResourceId),
		"iamDatabaseAuthenticationEnabled": aws.ToBool(cluster.IAMDatabaseAuthenticationEnabled), "masterUserSecrets": secrets(cluster.MasterUserSecret),
		"replicationSourceIdentifier": aws.ToString(cluster.ReplicationSourceIdentifier), "storageEncrypted": aws.ToBool(cluster.StorageEncrypted), "databaseName": aws.ToString(cluster.DatabaseName),
		"dbSubnetGroupName": aws.ToString(cluster.DBSubnetGroup), "endpoint": aws.ToString(cluster.Endpoint),
		"readerEndpoint": aws.ToString(cluster.ReaderEndpoint), "engine": aws.ToString(cluster.Engine),
		"engineMode": aws.ToString(cluster.EngineMode), "engineVersion": aws.ToString(cluster.EngineVersion),
		"networkType": aws.ToString(cluster.NetworkType), "port": aws.ToInt32(cluster.Port),
		"vpcSecurityGroupIds": unordered(groups), "masterUsername": aws.ToString(cluster.MasterUsername),
	}), nil
}

// unordered are the members of a set, which come in an order that says nothing.
func unordered(texts []string) []string {
	return slices.SortedFunc(slices.Values(texts), func(a, b string) int {
		one, other := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return bytes.Compare(one[:], other[:])
	})
}

// secrets is where RDS keeps the master user's password.
func secrets(kept *types.MasterUserSecret) []any {
	if kept == nil {
		return []any{}
	}
	return []any{map[string]any{
		"kmsKeyId": aws.ToString(kept.KmsKeyId), "secretArn": aws.ToString(kept.SecretArn), "secretStatus": aws.ToString(kept.SecretStatus),
	}}
}

func (c *clients) getInstances(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	filters, err := rdsFilters(args)
	if err != nil {
		return nil, err
	}
	found, err := c.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: filters})
	if err != nil {
		return nil, fmt.Errorf("reading RDS DB Instances: %w", err)
	}
	arns, identifiers := []string{}, []string{}
	for _, instance := range found.DBInstances {
		arns = append(arns, *instance.DBInstanceArn)
		identifiers = append(identifiers, *instance.DBInstanceIdentifier)
	}
	return properties(map[string]any{"id": c.region, "instanceArns": arns, "instanceIdentifiers": identifiers}), nil
}

func (c *clients) getInstance(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	identifier := args["dbInstanceIdentifier"].StringValue()
	found, err := c.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{DBInstanceIdentifier: &identifier})
	if err != nil {
		return nil, fmt.Errorf("reading RDS DB Instance (%s): %w", identifier, err)
	}
	instance := found.DBInstances[0]
	var groups []string
	for _, group := range instance.VpcSecurityGroups {
		groups = append(groups, *group.VpcSecurityGroupId)
	}
	values := map[string]any{
		"id": instance.DBInstanceIdentifier, "dbInstanceArn": instance.DBInstanceArn,
		"dbInstanceIdentifier": instance.DBInstanceIdentifier, "dbClusterIdentifier": aws.ToString(instance.DBClusterIdentifier),
		"dbName": aws.ToString(instance.DBName), "engine": aws.ToString(instance.Engine),
		"engineVersion": aws.ToString(instance.EngineVersion), "networkType": aws.ToString(instance.NetworkType),
		"publiclyAccessible": aws.ToBool(instance.PubliclyAccessible), "vpcSecurityGroups": groups,
		"masterUsername": aws.ToString(instance.MasterUsername), "masterUserSecrets": secrets(instance.MasterUserSecret),
		"replicateSourceDb": aws.ToString(instance.ReadReplicaSourceDBInstanceIdentifier), "resourceId": aws.ToString(instance.DbiResourceId),
		"multiAz": aws.ToBool(instance.MultiAZ), "storageEncrypted": aws.ToBool(instance.StorageEncrypted),
	}
	if instance.Endpoint != nil {
		values["address"], values["port"] = instance.Endpoint.Address, instance.Endpoint.Port
	}
	if instance.DBSubnetGroup != nil {
		values["dbSubnetGroup"] = instance.DBSubnetGroup.DBSubnetGroupName
	}
	return properties(values), nil
}

func (c *clients) getSubnetGroup(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	name := args["name"].StringValue()
	found, err := c.rds.DescribeDBSubnetGroups(ctx, &rds.DescribeDBSubnetGroupsInput{DBSubnetGroupName: &name})
	if err != nil {
		return nil, fmt.Errorf("reading RDS DB Subnet Group (%s): %w", name, err)
	}
	group := found.DBSubnetGroups[0]
	var subnets []string
	for _, subnet := range group.Subnets {
		subnets = append(subnets, *subnet.SubnetIdentifier)
	}
	return properties(map[string]any{
		"id": name, "name": name, "arn": group.DBSubnetGroupArn, "description": group.DBSubnetGroupDescription,
		"status": group.SubnetGroupStatus, "subnetIds": unordered(subnets), "vpcId": group.VpcId,
	}), nil
}
