package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/dbtest"
)

// crowds are how many rotations run at once, each in a process and of a user of its own.
var crowds = []int{1, 10, targets}

// crowd is what came of a number of rotations at once.
type crowd struct {
	took        []float64 // milliseconds
	perSecond   float64
	connections float64 // on the server at once, at the most
	failed      []error
}

func (b *bench) measureScale(ctx context.Context) error {
	executables, err := b.executables(ctx)
	if err != nil {
		return err
	}
	for _, engine := range engines {
		if err := b.onServer(ctx, engine.kind, func(server *dbtest.Server) error {
			return b.measureCrowds(ctx, executables, engine.kind, engine.name, server)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) measureCrowds(ctx context.Context, executables executables, engine, name string, server *dbtest.Server) error {
	progress("rotating on %s, %v at once, with verified TLS", name, crowds)
	ourVariables, provedVariables := variables(server, true)
	ours, err := rotateCrowds(ctx, executables.ours, ourVariables, engine, server)
	if err != nil {
		return err
	}
	proved, err := rotateCrowds(ctx, executables.rotator, provedVariables, engine, server)
	if err != nil {
		return err
	}
	var ourFailures, theirFailures []error
	for i, size := range crowds {
		where := fmt.Sprintf("%d at once, %s", size, name)
		b.Samples["rotation, "+where+", ours"], b.Samples["rotation, "+where+", "+leastProved] = ours[i].took, proved[i].took
		b.add(
			row{Measure: where + ": rotations", Unit: "/s", Ours: ours[i].perSecond, Baseline: proved[i].perSecond, Against: leastProved},
			row{Measure: where + ": p95", Unit: "ms", Ours: quantile(ours[i].took, 0.95), Baseline: quantile(proved[i].took, 0.95), Against: leastProved},
			row{Measure: where + ": connections on the server", Ours: ours[i].connections, Baseline: proved[i].connections, Against: leastProved, MaxOurs: atMost(300)},
		)
		ourFailures, theirFailures = append(ourFailures, ours[i].failed...), append(theirFailures, proved[i].failed...)
	}
	b.add(row{Measure: "failed rotations, " + name, Ours: float64(len(ourFailures)), Baseline: float64(len(theirFailures)), Against: leastProved, MaxOurs: atMost(0)})
	if failures := errors.Join(ourFailures...); failures != nil {
		progress("%v", failures)
	}
	return nil
}

// rotateCrowds starts as many processes as the largest crowd needs, and measures each size of crowd.
func rotateCrowds(ctx context.Context, executable string, variables []string, engine string, server *dbtest.Server) ([]crowd, error) {
	var workers []*worker
	defer func() {
		for _, w := range workers {
			w.stop()
		}
	}()
	for range targets {
		w, err := startWorker(executable, variables...)
		if err != nil {
			return nil, err
		}
		workers = append(workers, w)
		if _, err := w.untilReady(ctx); err != nil {
			return nil, err
		}
	}
	var found []crowd
	for _, size := range crowds {
		one, err := rotateCrowd(ctx, workers[:size], engine, server)
		if err != nil {
			return nil, err
		}
		found = append(found, one)
	}
	return found, nil
}

func rotateCrowd(ctx context.Context, workers []*worker, engine string, server *dbtest.Server) (crowd, error) {
	const enough = 60 // rotations for a figure
	rounds := max(3, enough/len(workers))
	count, err := countConnections(ctx, engine, server)
	if err != nil {
		return crowd{}, err
	}
	var found crowd
	began := time.Now()
	for range rounds {
		var round sync.WaitGroup
		var lock sync.Mutex
		for i, w := range workers {
			round.Go(func() {
				took, err := w.rotate(ctx, rotation(engine, server.Host, server.Port, i))
				lock.Lock()
				defer lock.Unlock()
				if err != nil {
					found.failed = append(found.failed, err)
					return
				}
				found.took = append(found.took, milliseconds(took))
			})
		}
		round.Wait()
	}
	found.perSecond = float64(len(found.took)) / time.Since(began).Seconds()
	found.connections, err = count()
	return found, err
}

// countConnections begins to count a server's clients but for this one. The function that it returns ends that, and is
// the largest number: MariaDB's own, or the largest of many looks at PostgreSQL's sessions.
func countConnections(ctx context.Context, engine string, server *dbtest.Server) (func() (float64, error), error) {
	if engine == road.MySQL {
		return countMariaDB(ctx, server)
	}
	return countPostgres(ctx, server)
}

func countMariaDB(ctx context.Context, server *dbtest.Server) (func() (float64, error), error) {
	config := mysql.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(server.Host, strconv.Itoa(server.Port))
	config.User, config.Passwd = server.AdminUser, server.AdminPassword
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, fmt.Errorf("counting MariaDB's connections: %w", err)
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(1)
	if _, err := pool.ExecContext(ctx, "FLUSH STATUS"); err != nil {
		return nil, errors.Join(fmt.Errorf("counting MariaDB's connections: %w", err), pool.Close())
	}
	return func() (float64, error) {
		var variable string
		var most float64
		err := pool.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'").Scan(&variable, &most)
		if err = errors.Join(err, pool.Close()); err != nil {
			return 0, fmt.Errorf("counting MariaDB's connections: %w", err)
		}
		return most - 1, nil
	}, nil
}

func countPostgres(ctx context.Context, server *dbtest.Server) (func() (float64, error), error) {
	config, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fmt.Errorf("counting PostgreSQL's connections: %w", err)
	}
	config.Host, config.Port, config.Database = server.Host, uint16(server.Port), "postgres"
	config.User, config.Password = server.AdminUser, server.AdminPassword
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("counting PostgreSQL's connections: %w", err)
	}
	var most float64
	var failure error
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for looks := time.NewTicker(10 * time.Millisecond); ; {
			select {
			case <-done:
				looks.Stop()
				return
			case <-looks.C:
			}
			var now float64
			if failure = connection.QueryRow(ctx, "SELECT count(*)::float8 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&now); failure != nil {
				return
			}
			most = max(most, now)
		}
	}()
	return func() (float64, error) {
		close(done)
		<-ended
		if err := errors.Join(failure, connection.Close(ctx)); err != nil {
			return 0, fmt.Errorf("counting PostgreSQL's connections: %w", err)
		}
		return most, nil
	}, nil
}
