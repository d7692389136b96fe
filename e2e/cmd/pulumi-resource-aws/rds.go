package main

import (
	"context"
	"fmt"

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
	// A filter by name that matches nothing is an empty list at AWS, and an error of moto's.
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("reading RDS Clusters: %w", err)
	}
	arns, identifiers := []string{}, []string{}
	if found != nil {
		for _, cluster := range found.DBClusters {
			arns = append(arns, *cluster.DBClusterArn)
			identifiers = append(identifiers, *cluster.DBClusterIdentifier)
		}
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
		"clusterMembers": members, "databaseName": aws.ToString(cluster.DatabaseName),
		"dbSubnetGroupName": aws.ToString(cluster.DBSubnetGroup), "endpoint": aws.ToString(cluster.Endpoint),
		"readerEndpoint": aws.ToString(cluster.ReaderEndpoint), "engine": aws.ToString(cluster.Engine),
		"engineMode": aws.ToString(cluster.EngineMode), "engineVersion": aws.ToString(cluster.EngineVersion),
		"networkType": aws.ToString(cluster.NetworkType), "port": aws.ToInt32(cluster.Port),
		"vpcSecurityGroupIds": groups, "masterUsername": aws.ToString(cluster.MasterUsername),
	}), nil
}

func (c *clients) getInstances(ctx context.Context, args resource.PropertyMap) (resource.PropertyMap, error) {
	filters, err := rdsFilters(args)
	if err != nil {
		return nil, err
	}
	found, err := c.rds.DescribeDBInstances(ctx, &rds.DescribeDBInstancesInput{Filters: filters})
	if err != nil && !isNotFound(err) {
		return nil, fmt.Errorf("reading RDS DB Instances: %w", err)
	}
	arns, identifiers := []string{}, []string{}
	if found != nil {
		for _, instance := range found.DBInstances {
			arns = append(arns, *instance.DBInstanceArn)
			identifiers = append(identifiers, *instance.DBInstanceIdentifier)
		}
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
		"masterUsername": aws.ToString(instance.MasterUsername),
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
		"status": group.SubnetGroupStatus, "subnetIds": subnets, "vpcId": group.VpcId,
	}), nil
}
