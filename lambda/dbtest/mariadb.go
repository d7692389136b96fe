package dbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// StartMariaDB starts a MariaDB server, and returns when it answers.
func StartMariaDB(ctx context.Context, options Options) (*Server, error) {
	server, err := startMariaDB(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("starting MariaDB: %w", err)
	}
	return server, nil
}

// mariaDBProgram is the path of a program of MariaDB, which Debian spreads over /usr/bin and /usr/sbin.
func mariaDBProgram(binDir, name string) (string, error) {
	for _, folder := range []string{binDir, "/usr/sbin", "/usr/bin"} {
		path := filepath.Join(folder, name)
		if _, err := os.Stat(path); folder != "" && err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", errors.New("no program " + name + "; install it with: apt-get install mariadb-server")
}

func startMariaDB(ctx context.Context, options Options) (*Server, error) {
	return startProduct(ctx, options, func(string, *user.User) (product, error) {
		install, err := mariaDBProgram(options.BinDir, "mariadb-install-db")
		if err != nil {
			return product{}, err
		}
		mariadbd, err := mariaDBProgram(options.BinDir, "mariadbd")
		return product{
			server: mariadbd, original: mariadbd, group: "mariadbd", settings: map[string]string{"innodb_log_file_size": "8M"},
			install: []string{install, "--no-defaults", "--skip-test-db", "--skip-name-resolve", "--auth-root-authentication-method=normal",
				"--innodb_log_file_size=8M", "--innodb_flush_log_at_trx_commit=0"},
			first: "DROP USER root@'127.0.0.1', root@'::1';\n",
		}, err
	})
}

// product is what MariaDB and MySQL do each in its own way.
type product struct {
	server   string // the program
	original string // the program where it is installed, of which server may be a copy
	group    string // of the configuration file
	settings map[string]string
	install  []string // the command that makes the data, but for its folder
	first    string   // statements before the administrator's
}

// startProduct starts the product that find finds. find gets the server's folder and the account that it runs as.
func startProduct(ctx context.Context, options Options, find func(folder string, as *user.User) (product, error)) (server *Server, err error) {
	if len(options.Addresses) == 0 {
		options.Addresses = []string{"127.0.0.1"}
	}
	as, err := account("mysql")
	if err != nil {
		return nil, err
	}
	folder, err := newFolder(as)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(folder)
		}
	}()
	found, err := find(folder, as)
	if err != nil {
		return nil, err
	}
	server = &Server{
		Host:          options.Addresses[0],
		AdminUser:     "root",
		AdminPassword: randomPassword(),
		LogFile:       filepath.Join(folder, "general.log"),
		ErrorLogFile:  filepath.Join(folder, "error.log"),
		DataDir:       filepath.Join(folder, "data"),
		folder:        folder,
	}
	if server.Port, err = FreePort(options.Addresses...); err != nil {
		return nil, err
	}

	settings := map[string]string{
		"datadir":                        server.DataDir,
		"bind-address":                   strings.Join(options.Addresses, ","),
		"port":                           strconv.Itoa(server.Port),
		"socket":                         filepath.Join(folder, "sock"),
		"pid-file":                       filepath.Join(folder, "server.pid"),
		"skip-name-resolve":              "1",
		"innodb_flush_log_at_trx_commit": "0",
		"innodb_buffer_pool_size":        "16M",
		"max_connections":                "50",
		"general_log":                    "1",
		"general_log_file":               server.LogFile,
		"log_bin":                        filepath.Join(server.DataDir, "binlog"),
		"server_id":                      "1",
	}
	if options.TLS {
		files, err := server.writeTLS(folder, options.Hosts, func(path, content string) error { return writeFile(path, content, as) })
		if err != nil {
			return nil, err
		}
		settings["ssl_cert"] = files.certificate
		settings["ssl_key"] = files.key
	}
	if options.IAM != nil {
		port, err := server.listenForTokens(options.IAM, answerPAM)
		if err != nil {
			return nil, err
		}
		plugins, err := pamPlugins(folder, port, as)
		if err != nil {
			return nil, err
		}
		maps.Copy(settings, map[string]string{"plugin_dir": plugins, "plugin_load_add": pamLibrary, pamCleartext: "1"})
	}
	maps.Copy(settings, found.settings)
	maps.Copy(settings, options.Settings)
	var config strings.Builder
	fmt.Fprintf(&config, "[%s]\n", found.group)
	for name, value := range settings {
		fmt.Fprintf(&config, "%s = %s\n", name, value)
	}
	configFile := filepath.Join(folder, "my.cnf")
	if err := writeFile(configFile, config.String(), as); err != nil {
		return nil, err
	}
	err = makeData(ctx, as, found.original, server.DataDir, found.install[1:], func() error {
		return prepare(ctx, as, folder, append(found.install, "--datadir="+server.DataDir)...)
	})
	if err != nil {
		return nil, err
	}
	// MySQL's own name of itself, which a copy of the data would share with it: replicas refuse that.
	if err := os.RemoveAll(filepath.Join(server.DataDir, "auto.cnf")); err != nil {
		return nil, err
	}
	// The administrator gets its password before the port opens, from a file that only the account can read.
	initFile := filepath.Join(folder, "init.sql")
	if err := writeFile(initFile, found.first+fmt.Sprintf("ALTER USER root@localhost IDENTIFIED BY '%[1]s';\n"+
		"CREATE USER root@'%%' IDENTIFIED BY '%[1]s';\n"+
		"GRANT ALL ON *.* TO root@'%%' WITH GRANT OPTION;\n",
		server.AdminPassword), as); err != nil {
		return nil, err
	}

	server.exec = server.execMySQL
	err = server.start(ctx, as, "KILL", []string{found.server, "--defaults-file=" + configFile, "--init-file=" + initFile}, func(ctx context.Context) error {
		return server.execMySQL(ctx, []string{"SELECT 1"})
	})
	return server, err
}

func (s *Server) execMySQL(ctx context.Context, statements []string) error {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	config.User, config.Passwd, config.DBName = s.AdminUser, s.AdminPassword, "mysql"
	config.Logger = &mysql.NopLogger{}
	if s.CAFile != "" {
		config.TLSConfig = "skip-verify" // the tests' own server, on loopback; it may insist on TLS
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return err
	}
	database := sql.OpenDB(connector)
	defer database.Close()
	connection, err := database.Conn(ctx)
	if err != nil {
		return err
	}
	defer connection.Close()
	for _, statement := range statements {
		if _, err := connection.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", config.Addr, err)
		}
	}
	return nil
}
