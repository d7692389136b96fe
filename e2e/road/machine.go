// Package road sets up everything that the way from `pulumi new` to `pulumi
// destroy` needs on one machine.
//
// A [Machine] is what many roads share: moto, a PostgreSQL and a MariaDB server
// with TLS, the Pulumi CLI and the stand-in plugins. A [Cloud] is one road's own:
// an AWS account, a Pulumi Cloud with an organization, and the environment
// variables under which the tools reach both.
package road

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"esc-connector-lambda-go/e2e/moto"
	"esc-connector-lambda-go/lambda/dbtest"
)

// Versions of the providers that the stand-ins stand in for: those of the Go
// SDKs in the project's go.mod, which is where a program's resources have them from.
const (
	AWSVersion           = "6.83.0"
	PulumiServiceVersion = "1.3.0"
)

// Machine is the shared part of all roads.
type Machine struct {
	// Postgres and MariaDB are running servers that insist on TLS.
	Postgres, MariaDB *dbtest.Server
	// Pulumi is the CLI's path.
	Pulumi string
	// CABundle is a PEM file: this system's CAs and those of the machine's own servers.
	CABundle string

	folder    string
	authority *dbtest.Authority
	moto      *moto.Server
	account   atomic.Int64

	lock   sync.Mutex
	clouds map[*Cloud]bool // that are open
}

// StartMachine starts the servers. Progress, if not nil, hears of each step.
func StartMachine(ctx context.Context, progress func(step string)) (*Machine, error) {
	if progress == nil {
		progress = func(string) {}
	}
	folder, err := os.MkdirTemp("", "esc-road-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the machine: %w", err)
	}
	m := &Machine{folder: folder, clouds: map[*Cloud]bool{}}
	m.account.Store(100000000000)
	if err := m.start(ctx, progress); err != nil {
		return nil, errors.Join(err, m.Stop())
	}
	return m, nil
}

func (m *Machine) start(ctx context.Context, progress func(string)) error {
	if err := m.findTools(); err != nil {
		return err
	}
	if err := m.linkPlugins(); err != nil {
		return err
	}
	var wait sync.WaitGroup
	failures := make([]error, 3)
	for i, step := range []func(context.Context) error{m.startMoto, m.startPostgres, m.startMariaDB} {
		wait.Go(func() { failures[i] = step(ctx) })
	}
	progress("starting moto, PostgreSQL and MariaDB")
	wait.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	return m.writeCABundle()
}

// Stop ends the servers and removes the machine's folder.
func (m *Machine) Stop() error {
	var failures []error
	for _, server := range []*dbtest.Server{m.Postgres, m.MariaDB} {
		if server != nil {
			failures = append(failures, server.Stop())
		}
	}
	if m.moto != nil {
		failures = append(failures, m.moto.Stop())
	}
	return errors.Join(append(failures, os.RemoveAll(m.folder))...)
}

// ServerPIDs are the process ids of the machine's servers, by their names.
func (m *Machine) ServerPIDs() (map[string]int, error) {
	postgres, err := m.Postgres.PID()
	if err != nil {
		return nil, err
	}
	mariadb, err := m.MariaDB.PID()
	return map[string]int{"moto": m.moto.PID(), "PostgreSQL": postgres, "MariaDB": mariadb}, err
}

// findTools looks for the CLI on PATH and then in the cache. The plugins are in the cache.
func (m *Machine) findTools() error {
	cache, err := dbtest.CacheFolder()
	if err != nil {
		return err
	}
	bin := filepath.Join(cache, "bin")
	m.Pulumi = filepath.Join(bin, "pulumi")
	if installed, err := exec.LookPath("pulumi"); err == nil {
		m.Pulumi = installed
	}
	for _, tool := range []string{m.Pulumi, m.plugin("aws"), m.plugin("pulumiservice")} {
		if _, err := os.Stat(tool); err != nil {
			return fmt.Errorf("looking for the tools of the road: %w; e2e/setup.sh builds them", err)
		}
	}
	return nil
}

func (m *Machine) plugin(name string) string {
	cache, err := dbtest.CacheFolder()
	if err != nil {
		return "pulumi-resource-" + name
	}
	return filepath.Join(cache, "plugins", "pulumi-resource-"+name)
}

func (m *Machine) startPostgres(ctx context.Context) (err error) {
	m.Postgres, err = dbtest.StartPostgres(ctx, dbtest.Options{
		TLS: true, HBA: []string{"hostssl all all all scram-sha-256"},
		Settings: map[string]string{"log_statement": "all"}, IAM: m.iam(Postgres),
	})
	if err != nil {
		return fmt.Errorf("starting PostgreSQL: %w", err)
	}
	return nil
}

func (m *Machine) startMariaDB(ctx context.Context) (err error) {
	m.MariaDB, err = dbtest.StartMariaDB(ctx, dbtest.Options{
		TLS: true, Settings: map[string]string{"require_secure_transport": "ON"}, IAM: m.iam(MySQL),
	})
	if err != nil {
		return fmt.Errorf("starting MariaDB: %w", err)
	}
	return nil
}

// iam is what the server of an engine asks about tokens: the clouds' gateways.
func (m *Machine) iam(engine string) *dbtest.IAM {
	// of does what ask does with each open cloud, until one knows the key.
	of := func(accessKey string, ask func(c *Cloud)) {
		m.lock.Lock()
		defer m.lock.Unlock()
		for c := range m.clouds {
			if _, _, known := c.AWS.Key(accessKey); known {
				ask(c)
				return
			}
		}
	}
	return &dbtest.IAM{
		Host: databaseHost, Region: Region,
		Key: func(accessKey string) (secret, session string, ok bool) {
			of(accessKey, func(c *Cloud) { secret, session, ok = c.AWS.Key(accessKey) })
			return secret, session, ok
		},
		MayConnect: func(accessKey, user string) (may bool) {
			server, err := m.Server(engine)
			if err == nil {
				of(accessKey, func(c *Cloud) { may, err = c.AWS.MayConnect(context.Background(), accessKey, user, server.Port) })
			}
			return may && err == nil
		},
	}
}

// databaseHost is where all databases are.
const databaseHost = "localhost"

func (m *Machine) startMoto(ctx context.Context) (err error) {
	m.moto, err = moto.Start(ctx, filepath.Join(m.folder, "moto.log"))
	return err
}

// linkPlugins puts the stand-ins where the CLI keeps what it has installed, once for all roads.
func (m *Machine) linkPlugins() error {
	for name, version := range map[string]string{"aws": AWSVersion, "pulumiservice": PulumiServiceVersion} {
		folder := filepath.Join(m.pulumiHome(), "plugins", fmt.Sprintf("resource-%s-v%s", name, version))
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("linking the stand-in %s provider: %w", name, err)
		}
		target := filepath.Join(folder, "pulumi-resource-"+name)
		// A hard link stays what it is while somebody builds the stand-in anew. From another file system there is none.
		if os.Link(m.plugin(name), target) == nil {
			continue
		}
		if err := os.Symlink(m.plugin(name), target); err != nil {
			return fmt.Errorf("linking the stand-in %s provider: %w", name, err)
		}
	}
	return nil
}

func (m *Machine) pulumiHome() string { return filepath.Join(m.folder, "pulumi") }

// systemBundles are where Debian and others keep the system's CAs.
var systemBundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}

func (m *Machine) writeCABundle() (err error) {
	if m.authority, err = dbtest.NewAuthority("esc-connector road"); err != nil {
		return fmt.Errorf("making the road's certificate authority: %w", err)
	}
	bundle := strings.Builder{}
	for _, path := range systemBundles {
		if system, err := os.ReadFile(path); err == nil {
			bundle.Write(system)
			bundle.WriteByte('\n')
			break
		}
	}
	bundle.Write(m.authority.PEM)
	for _, server := range []*dbtest.Server{m.Postgres, m.MariaDB} {
		ca, err := os.ReadFile(server.CAFile)
		if err != nil {
			return fmt.Errorf("reading a database's CA: %w", err)
		}
		bundle.WriteByte('\n')
		bundle.Write(ca)
	}
	m.CABundle = filepath.Join(m.folder, "ca.pem")
	if err := os.WriteFile(m.CABundle, []byte(bundle.String()), 0o644); err != nil {
		return fmt.Errorf("writing the CA bundle: %w", err)
	}
	return nil
}
