package dbtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// StartMySQL starts the MySQL server that install-mysql.sh fetched, and returns when it answers. The server offers TLS in
// any case, without Options.TLS by a certificate of its own making.
func StartMySQL(ctx context.Context, options Options) (*Server, error) {
	server, err := startMySQL(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("starting MySQL: %w", err)
	}
	return server, nil
}

func startMySQL(ctx context.Context, options Options) (server *Server, err error) {
	if options.BinDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, err
		}
		options.BinDir = filepath.Join(cache, "esc-connector-lambda-go/mysql/bin")
	}
	if _, err := os.Stat(filepath.Join(options.BinDir, "mysqld")); err != nil {
		return nil, fmt.Errorf("%w; fetch it with: lambda/dbtest/install-mysql.sh", err)
	}
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
	server = &Server{
		Host:          options.Addresses[0],
		AdminUser:     "root",
		AdminPassword: randomPassword(),
		LogFile:       filepath.Join(folder, "general.log"),
		ErrorLogFile:  filepath.Join(folder, "error.log"),
		DataDir:       filepath.Join(folder, "data"),
		folder:        folder,
	}
	binDir, err := readable(ctx, options.BinDir, "mysqld", folder, as)
	if err != nil {
		return nil, err
	}
	mysqld := filepath.Join(binDir, "mysqld")
	if server.Port, err = freePort(options.Addresses); err != nil {
		return nil, err
	}
	settings := map[string]string{
		"datadir":                        server.DataDir,
		"bind-address":                   strings.Join(options.Addresses, ","),
		"port":                           strconv.Itoa(server.Port),
		"socket":                         filepath.Join(folder, "sock"),
		"pid-file":                       filepath.Join(folder, "mysqld.pid"),
		"mysqlx":                         "OFF",
		"secure-file-priv":               "NULL",
		"skip-name-resolve":              "ON",
		"innodb_flush_log_at_trx_commit": "0",
		"innodb_buffer_pool_size":        "16M",
		"innodb_redo_log_capacity":       "8M",
		"max_connections":                "50",
		"general_log":                    "1",
		"general_log_file":               server.LogFile,
		"log_bin":                        filepath.Join(server.DataDir, "binlog"),
		"server_id":                      "1",
	}
	if options.TLS {
		files, err := writeTLS(folder, options.Hosts, func(path, content string) error { return writeFile(path, content, as) })
		if err != nil {
			return nil, err
		}
		server.CAFile = files.ca
		settings["ssl_cert"] = files.certificate
		settings["ssl_key"] = files.key
	}
	for name, value := range options.Settings {
		settings[name] = value
	}
	var config strings.Builder
	config.WriteString("[mysqld]\n")
	for name, value := range settings {
		fmt.Fprintf(&config, "%s = %s\n", name, value)
	}
	configFile := filepath.Join(folder, "my.cnf")
	if err := writeFile(configFile, config.String(), as); err != nil {
		return nil, err
	}
	if err := prepare(ctx, as, folder, mysqld, "--no-defaults", "--initialize-insecure", "--datadir="+server.DataDir); err != nil {
		return nil, err
	}
	// The administrator gets its password before the port opens, from a file that only the account can read.
	initFile := filepath.Join(folder, "init.sql")
	if err := writeFile(initFile, fmt.Sprintf("ALTER USER root@localhost IDENTIFIED BY '%[1]s';\n"+
		"CREATE USER root@'%%' IDENTIFIED BY '%[1]s';\n"+
		"GRANT ALL ON *.* TO root@'%%' WITH GRANT OPTION;\n",
		server.AdminPassword), as); err != nil {
		return nil, err
	}
	server.exec = server.execMariaDB
	err = server.start(ctx, as, "KILL", []string{mysqld, "--defaults-file=" + configFile, "--init-file=" + initFile}, func(ctx context.Context) error {
		return server.execMariaDB(ctx, []string{"SELECT 1"})
	})
	return server, err
}
