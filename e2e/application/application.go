// Package application is the example of the README: how a service that runs for
// long picks up rotated credentials without a restart.
package application

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Connect opens a pool whose every new connection logs in with what is current
// in the ESC environment. Host, database and TLS come from the PG* variables.
func Connect(ctx context.Context, environment string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		return nil, err
	}
	config.MaxConnLifetime = time.Hour // at most, then a new connection asks again
	config.BeforeConnect = func(ctx context.Context, login *pgx.ConnConfig) error {
		answer, err := exec.CommandContext(ctx,
			"pulumi", "env", "open", environment, "dbRotator.current").Output()
		if err != nil {
			return fmt.Errorf("opening %s: %w", environment, err)
		}
		var current struct{ Username, Password string }
		if err := json.Unmarshal(answer, &current); err != nil {
			return fmt.Errorf("reading %s: %w", environment, err)
		}
		login.User, login.Password = current.Username, current.Password
		return nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}
