package road

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"esc-connector-lambda-go/e2e/ec2"
	"esc-connector-lambda-go/e2e/gateway"
	"esc-connector-lambda-go/e2e/pulumicloud/access"
	"esc-connector-lambda-go/e2e/pulumicloud/esc"
	"esc-connector-lambda-go/e2e/pulumicloud/rest"
	"esc-connector-lambda-go/e2e/pulumicloud/state"
	"esc-connector-lambda-go/lambda/dbtest"
)

// Names that every road uses.
const (
	Organization = "acme"
	Region       = "us-west-2"
	// Token is the access token of the organization's admin.
	Token = "pul-road-admin"
	team  = "database-administrators"
)

// Cloud is one road's AWS account and Pulumi Cloud organization.
type Cloud struct {
	// Account is the AWS account's number.
	Account string
	// AWS is the gateway, ESC the service, to play faults on. AWSFaults are those of any request to AWS.
	AWS       *gateway.Gateway
	AWSFaults rest.Faults
	ESC       *esc.Service
	// State is the part of the same host that keeps stacks, and Directory knows who may log in.
	State     *state.Service
	Directory *access.Directory
	// AWSURL and ESCURL are where they listen.
	AWSURL, ESCURL string
	// Home is a folder for the tools: PULUMI_HOME, and a folder for the state of stacks that are not kept in State.
	Home string

	machine *Machine
	servers []*http.Server
}

// NewCloud opens an empty AWS account and an empty Pulumi Cloud organization, and logs its admin in. folder
// must exist and be empty; the caller removes it after [Cloud.Close].
func (m *Machine) NewCloud(folder string) (*Cloud, error) {
	c := &Cloud{Account: strconv.FormatInt(m.account.Add(1), 10), Home: folder, machine: m}
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	m.lock.Lock()
	defer m.lock.Unlock()
	m.clouds[c] = true
	return c, nil
}

func (c *Cloud) start() (err error) {
	functions := filepath.Join(c.Home, "functions")
	home := filepath.Join(c.Home, "pulumi")
	for _, folder := range []string{functions, home, filepath.Join(c.Home, "state")} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return fmt.Errorf("making the folders of a cloud: %w", err)
		}
	}
	if err := os.Symlink(filepath.Join(c.machine.pulumiHome(), "plugins"), filepath.Join(home, "plugins")); err != nil {
		return fmt.Errorf("linking the plugins: %w", err)
	}
	c.AWS, err = gateway.New(gateway.Options{
		Moto: c.machine.moto.URL, Account: c.Account, DatabaseHost: databaseHost,
		SystemCAs: c.machine.CABundle, Folder: functions,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("opening AWS's port: %w", err)
	}
	c.AWSURL = "http://" + listener.Addr().String()
	c.serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.AWSFaults.Serve(w, r, c.AWS) }))
	if err := c.startESC(); err != nil {
		return err
	}
	return c.Login(Token)
}

// members are who may log in, each by the token pul-road-NAME.
func members() map[string]access.User {
	environments := func(permission access.Environment) map[string]access.Environment {
		return map[string]access.Environment{"*": permission}
	}
	stacks := func(permission access.Stack) map[string]access.Stack { return map[string]access.Stack{"*": permission} }
	known := map[string]access.User{}
	for _, user := range []access.User{
		{Name: "admin", Environments: environments(access.AdminEnvironment), Stacks: stacks(access.AdminStack)},
		// Reads the rotated passwords.
		{Name: "reader", Environments: map[string]access.Environment{Organization + "/demo/rotator": access.OpenEnvironment}},
		// Has what the team is given.
		{Name: "team", Teams: []string{team}},
		// Update stacks, and may do with environments: nothing, and open those that are there.
		{Name: "blind", Stacks: stacks(access.WriteStack), Lacks: []access.Scope{access.CreateEnvironments}},
		{Name: "updater", Environments: environments(access.OpenEnvironment), Stacks: stacks(access.WriteStack), Lacks: []access.Scope{access.CreateEnvironments}},
		// Previews what stacks would do.
		{Name: "previewer", Environments: environments(access.ReadEnvironment), Stacks: stacks(access.ReadStack)},
		// Has a right to no stack and no environment that he has not made.
		{Name: "member"},
	} {
		known["pul-road-"+user.Name] = user
	}
	return known
}

// RenameOrganization gives the organization another name in Pulumi Cloud, with its stacks and environments, as its administrator
// does in the console.
func (c *Cloud) RenameOrganization(to string) {
	from := c.Organization()
	c.Directory.Rename(from, to)
	c.State.RenameOrganization(from, to)
	c.ESC.RenameOrganization(from, to)
}

// Organization is the organization's name, which begins as the constant.
func (c *Cloud) Organization() string { return c.Directory.Names()[0] }

// Login leaves behind what `pulumi login` to the cloud leaves: the CLI's credentials file.
func (c *Cloud) Login(token string) error {
	user, known := c.Directory.User(token)
	if !known {
		return fmt.Errorf("logging in to %s: nobody has that access token", c.ESCURL)
	}
	account := workspace.Account{
		AccessToken: token, Username: user.Name, Organizations: c.Directory.Names(), LastValidatedAt: time.Now(),
	}
	file, err := json.Marshal(workspace.Credentials{
		Current: c.ESCURL, AccessTokens: map[string]string{c.ESCURL: token}, Accounts: map[string]workspace.Account{c.ESCURL: account},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Home, "pulumi", "credentials.json"), file, 0o600)
	}
	if err != nil {
		return fmt.Errorf("logging in to %s: %w", c.ESCURL, err)
	}
	return nil
}

func (c *Cloud) startESC() error {
	certificate, key, err := c.machine.authority.Issue(time.Time{}, "localhost", "127.0.0.1")
	if err != nil {
		return fmt.Errorf("making ESC's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return fmt.Errorf("reading ESC's certificate: %w", err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		return fmt.Errorf("opening ESC's port: %w", err)
	}
	c.ESCURL = fmt.Sprintf("https://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	c.Directory = access.NewDirectory(members(), Organization)
	c.Directory.Teams = []string{team}
	c.State = state.New(state.Options{Directory: c.Directory})
	c.ESC, err = esc.New(esc.Options{BackendURL: c.ESCURL, Directory: c.Directory, AWSEndpoint: c.AWSURL, NewLogins: 1})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	c.serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if state.Serves(r) {
			c.State.ServeHTTP(w, r)
			return
		}
		c.ESC.ServeHTTP(w, r)
	}))
	return nil
}

func (c *Cloud) serve(listener net.Listener, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	c.servers = append(c.servers, server)
	go func() { _ = server.Serve(listener) }()
}

// Close ends the cloud's servers and functions.
func (c *Cloud) Close() error {
	c.machine.lock.Lock()
	delete(c.machine.clouds, c)
	c.machine.lock.Unlock()
	var failures []error
	for _, server := range c.servers {
		failures = append(failures, server.Close())
	}
	if c.AWS != nil {
		c.AWS.Close()
	}
	return errors.Join(failures...)
}

// Environ is what the tools need on top of a process's environment: AWS is the gateway, and the access token is the
// organization's admin's, who is logged in.
func (c *Cloud) Environ() []string {
	return []string{
		"PULUMI_HOME=" + filepath.Join(c.Home, "pulumi"),
		"PULUMI_SKIP_UPDATE_CHECK=true",
		"PULUMI_ACCESS_TOKEN=" + Token,
		"PATH=" + filepath.Dir(c.machine.Pulumi) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"SSL_CERT_FILE=" + c.machine.CABundle,
		"AWS_ENDPOINT_URL=" + c.AWSURL,
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
		"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
		"AWS_REGION=" + Region,
		"AWS_DEFAULT_REGION=" + Region, // which version 1 of the AWS CLI reads
		"AWS_EC2_METADATA_DISABLED=true",
		"AWS_PAGER=",
	}
}

// FolderURL is a backend for stacks whose state is not kept in Pulumi Cloud.
func (c *Cloud) FolderURL() string { return "file://" + filepath.Join(c.Home, "state") }

// config reaches the cloud's AWS endpoint.
func (c *Cloud) config() aws.Config {
	return aws.Config{
		Region: Region, BaseEndpoint: aws.String(c.AWSURL),
		Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""),
	}
}

// AddCluster makes what the user has before all this: a VPC with two private
// subnets and an RDS cluster in them, whose endpoint leads to the server.
func (c *Cloud) AddCluster(ctx context.Context, identifier, engine string, server *dbtest.Server) error {
	kind := Postgres
	if strings.Contains(engine, "mysql") {
		kind = MySQL
	}
	version, err := c.machine.version(ctx, kind)
	if err != nil {
		return fmt.Errorf("making the RDS cluster %s: %w", identifier, err)
	}
	group, err := c.addNetwork(ctx, identifier)
	databases := rds.NewFromConfig(c.config())
	if err == nil {
		_, err = databases.CreateDBCluster(ctx, &rds.CreateDBClusterInput{
			DBClusterIdentifier: &identifier, Engine: &engine, EngineVersion: &version, MasterUsername: aws.String("root"),
			MasterUserPassword: aws.String("not-the-servers-own"), Port: aws.Int32(int32(server.Port)),
			DBSubnetGroupName: &identifier, VpcSecurityGroupIds: []string{group},
		})
	}
	if err == nil {
		_, err = databases.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
			DBInstanceIdentifier: aws.String(identifier + "-1"), DBClusterIdentifier: &identifier, Engine: &engine,
			DBInstanceClass: aws.String("db.t4g.medium"),
		})
	}
	if err != nil {
		return fmt.Errorf("making the RDS cluster %s: %w", identifier, err)
	}
	return nil
}

// AddInstance is AddCluster with a single RDS instance, that belongs to no cluster.
func (c *Cloud) AddInstance(ctx context.Context, identifier, engine string, server *dbtest.Server) error {
	group, err := c.addNetwork(ctx, identifier)
	if err == nil {
		_, err = rds.NewFromConfig(c.config()).CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
			DBInstanceIdentifier: &identifier, Engine: &engine, DBInstanceClass: aws.String("db.t4g.medium"),
			AllocatedStorage: aws.Int32(20), MasterUsername: aws.String("root"),
			MasterUserPassword: aws.String("not-the-servers-own"), Port: aws.Int32(int32(server.Port)),
			DBSubnetGroupName: &identifier, VpcSecurityGroupIds: []string{group},
		})
	}
	if err != nil {
		return fmt.Errorf("making the RDS instance %s: %w", identifier, err)
	}
	return nil
}

// addNetwork makes a VPC with two private subnets, a DB subnet group of them and a
// security group, both with the database's name. It answers the security group.
func (c *Cloud) addNetwork(ctx context.Context, identifier string) (group string, err error) {
	network := ec2.NewFromConfig(c.config())
	vpc, err := network.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
	if err != nil {
		return "", err
	}
	var subnets []string
	for i, zone := range []string{"a", "b"} {
		subnet, err := network.CreateSubnet(ctx, &ec2.CreateSubnetInput{
			VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String(fmt.Sprintf("10.0.%d.0/24", i)), AvailabilityZone: aws.String(Region + zone),
		})
		if err != nil {
			return "", err
		}
		subnets = append(subnets, *subnet.Subnet.SubnetId)
	}
	made, err := network.CreateSecurityGroup(ctx, &ec2.CreateSecurityGroupInput{
		GroupName: aws.String(identifier), Description: aws.String("the database's"), VpcId: vpc.Vpc.VpcId,
		TagSpecifications: []ec2.TagSpecification{{
			ResourceType: ec2.ResourceTypeSecurityGroup,
			Tags:         []ec2.Tag{{Key: aws.String("owner"), Value: aws.String("the user")}},
		}},
	})
	if err != nil {
		return "", err
	}
	_, err = rds.NewFromConfig(c.config()).CreateDBSubnetGroup(ctx, &rds.CreateDBSubnetGroupInput{
		DBSubnetGroupName: &identifier, DBSubnetGroupDescription: aws.String("the database's"), SubnetIds: subnets,
	})
	return *made.GroupId, err
}
