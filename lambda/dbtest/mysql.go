package dbtest

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
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

func startMySQL(ctx context.Context, options Options) (*Server, error) {
	return startProduct(ctx, options, func(folder string, as *user.User) (product, error) {
		binDir := options.BinDir
		if binDir == "" {
			cache, err := CacheFolder()
			if err != nil {
				return product{}, err
			}
			binDir = filepath.Join(cache, "mysql/bin")
		}
		original := filepath.Join(binDir, "mysqld")
		if _, err := os.Stat(original); err != nil {
			return product{}, fmt.Errorf("%w; fetch it with: lambda/dbtest/install-mysql.sh", err)
		}
		binDir, err := readable(ctx, binDir, "mysqld", folder, as)
		mysqld := filepath.Join(binDir, "mysqld")
		return product{
			server: mysqld, original: original, group: "mysqld",
			settings: map[string]string{"mysqlx": "OFF", "secure-file-priv": "NULL", "innodb_redo_log_capacity": "8M"},
			install:  []string{mysqld, "--no-defaults", "--initialize-insecure"},
		}, err
	})
}
