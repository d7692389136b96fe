package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"esc-connector-lambda-go/e2e/road"
	"esc-connector-lambda-go/lambda/dbtest"
)

// The baselines' names in the table.
const (
	leastRotator = "least rotator"
	leastProved  = "least rotator + a login"
)

// engines and the names of the systems that run them.
var engines = []struct{ kind, name string }{{road.Postgres, "PostgreSQL"}, {road.MySQL, "MariaDB"}}

const (
	database        = "bench"
	managingUser    = "manager"
	managingInitial = "managing-password"
	targets         = 100 // users to rotate
)

// executables are the functions that are compared.
type executables struct{ ours, handler, rotator string }

func (b *bench) executables(ctx context.Context) (executables, error) {
	found := executables{ours: b.path("function"), handler: b.path("function-handler"), rotator: b.path("function-rotator")}
	handler, err := b.baseline("handler")
	if err != nil {
		return found, err
	}
	rotator, err := b.baseline("rotator")
	if err != nil {
		return found, err
	}
	for _, source := range [][3]string{{found.ours, b.root, "./lambda"}, {found.handler, handler, "."}, {found.rotator, rotator, "."}} {
		if _, err := os.Stat(source[0]); err == nil {
			continue
		}
		if _, err := goBuild(ctx, source[1], functionEnv, append(slices.Clone(stripped), "-o", source[0], source[2])...); err != nil {
			return found, err
		}
	}
	return found, nil
}

// startServer runs a server of the engine, with TLS for who wants it, both managing users and the targets. It logs no
// statements, which would cost time that a server in use does not spend.
func startServer(ctx context.Context, engine string) (*dbtest.Server, error) {
	start, settings := dbtest.StartPostgres, map[string]string{"log_statement": "none", "log_connections": "off", "max_connections": "300"}
	if engine == road.MySQL {
		start, settings = dbtest.StartMariaDB, map[string]string{"general_log": "0", "max_connections": "300"}
	}
	server, err := start(ctx, dbtest.Options{TLS: true, Settings: settings, IAM: tokens()})
	if err != nil {
		return nil, err
	}
	statements := road.Users{Database: database, ManagingUser: managingUser, ManagingPassword: managingInitial,
		RotateUser1: target(0), RotatePassword1: newPassword(), RotateUser2: target(1), RotatePassword2: newPassword()}.Statements(engine)
	statements = append(statements, makeTokenUser(engine)...)
	for i := 2; i < targets; i++ {
		if engine == road.MySQL {
			statements = append(statements, fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY '%s'", target(i), newPassword()))
		} else {
			statements = append(statements, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", target(i), newPassword()),
				fmt.Sprintf("GRANT %s TO %s WITH ADMIN OPTION", target(i), managingUser))
		}
	}
	if err := server.Exec(ctx, statements...); err != nil {
		return nil, errors.Join(fmt.Errorf("making the users: %w", err), server.Stop())
	}
	return server, nil
}

func target(i int) string { return fmt.Sprintf("target_%d", i) }

func newPassword() string {
	random := make([]byte, 16)
	rand.Read(random) // never fails, says crypto/rand
	return hex.EncodeToString(random)
}

// rotation is an event for a rotation of the i-th target.
func rotation(engine, host string, port, i int) []byte {
	return rotationBy(managingUser, managingInitial, engine, host, port, i)
}

func rotationBy(managingUser, password, engine, host string, port, i int) []byte {
	event, err := json.Marshal(map[string]any{
		"type": engine, "host": host, "port": port, "database": database,
		"managingUser": map[string]string{"username": managingUser, "password": password},
		"rotateUser":   map[string]string{"username": target(i), "password": "", "newPassword": newPassword()},
	})
	if err != nil {
		panic(err) // strings and numbers only
	}
	return event
}

// contestant is a function in one way of running it, and what it has shown.
type contestant struct {
	executable string
	variables  []string
	event      func() []byte

	took   []float64 // milliseconds, one a rotation
	cpu    float64   // milliseconds of CPU time a rotation
	memory float64   // MB at the most
}

func (b *bench) measureFunction(ctx context.Context) error {
	executables, err := b.executables(ctx)
	if err != nil {
		return err
	}
	if err := b.measureStart(ctx, executables); err != nil {
		return err
	}
	for _, engine := range engines {
		if err := b.onServer(ctx, engine.kind, func(server *dbtest.Server) error {
			for _, encrypted := range []bool{false, true} {
				if err := b.measureRotations(ctx, executables, engine.kind, engine.name, server, encrypted); err != nil {
					return err
				}
			}
			if err := b.measureTokens(ctx, executables, engine.kind, engine.name, server); err != nil {
				return err
			}
			return b.measureTurns(ctx, executables, engine.kind, engine.name, server)
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) onServer(ctx context.Context, engine string, measure func(*dbtest.Server) error) error {
	server, err := startServer(ctx, engine)
	if err != nil {
		return err
	}
	return errors.Join(measure(server), server.Stop())
}

// variables run ours and the least rotator on the same terms.
func variables(server *dbtest.Server, encrypted bool) (ours, proved []string) {
	if encrypted {
		return []string{"DB_SSLMODE=verify-full", "DB_SSLROOTCERT=" + server.CAFile}, []string{"ROTATOR_PROVE=1", "ROTATOR_CA=" + server.CAFile}
	}
	return []string{"DB_SSLMODE=disable"}, []string{"ROTATOR_PROVE=1"}
}

func (b *bench) measureStart(ctx context.Context, executables executables) error {
	progress("starting the functions, turn by turn")
	samples := map[string][]float64{}
	for range max(10, b.rotations/2) {
		for _, executable := range []string{executables.ours, executables.handler, executables.rotator} {
			w, err := startWorker(executable)
			if err != nil {
				return err
			}
			took, err := w.untilReady(ctx)
			w.stop()
			if err != nil {
				return err
			}
			samples[executable] = append(samples[executable], milliseconds(took))
		}
	}
	ours, handler, rotator := samples[executables.ours], samples[executables.handler], samples[executables.rotator]
	b.Samples["start, ours"], b.Samples["start, "+emptyHandler], b.Samples["start, "+leastRotator] = ours, handler, rotator
	b.add(
		row{Measure: "start to first event, p50", Unit: "ms", Ours: quantile(ours, 0.5), Baseline: quantile(handler, 0.5), Against: emptyHandler},
		row{Measure: "start to first event, p50", Unit: "ms", Ours: quantile(ours, 0.5), Baseline: quantile(rotator, 0.5), Against: leastRotator, MaxRatio: atMost(1.25)},
	)
	return nil
}

// measureRotations compares ours with the least rotator.
func (b *bench) measureRotations(ctx context.Context, executables executables, engine, name string, server *dbtest.Server, encrypted bool) error {
	where := name + ", plain text"
	if encrypted {
		where = name + ", verified TLS"
	}
	progress("rotating on %s, turn by turn", where)
	ourVariables, provedVariables := variables(server, encrypted)
	event := func() []byte { return rotation(engine, server.Host, server.Port, 0) }
	ours := contestant{executable: executables.ours, variables: ourVariables, event: event}
	least := contestant{executable: executables.rotator, event: event}
	proved := contestant{executable: executables.rotator, variables: provedVariables, event: event}
	if err := b.turnByTurn(ctx, &ours, &least, &proved); err != nil {
		return err
	}
	b.Samples["rotation, "+where+", ours"] = ours.took
	b.Samples["rotation, "+where+", "+leastRotator] = least.took
	b.Samples["rotation, "+where+", "+leastProved] = proved.took
	b.add(
		row{Measure: "rotation, " + where + ", p50", Unit: "ms", Ours: quantile(ours.took, 0.5), Baseline: quantile(proved.took, 0.5), Against: leastProved, MaxRatio: atMost(1.25)},
		row{Measure: "rotation, " + where + ", p95", Unit: "ms", Ours: quantile(ours.took, 0.95), Baseline: quantile(proved.took, 0.95), Against: leastProved},
		row{Measure: "function's CPU time a rotation, " + where, Unit: "ms", Ours: ours.cpu, Baseline: proved.cpu, Against: leastProved},
	)
	if !encrypted {
		b.add(row{Measure: "rotation, " + where + ", p50", Unit: "ms", Ours: quantile(ours.took, 0.5), Baseline: quantile(least.took, 0.5), Against: leastRotator})
		return nil
	}
	b.add(row{Measure: "peak memory, " + where, Unit: "MB", Ours: ours.memory, Baseline: proved.memory, Against: leastProved, MaxRatio: atMost(1.25)})
	return nil
}

// turnByTurn has the contestants rotate one after the other, in one process each.
func (b *bench) turnByTurn(ctx context.Context, contestants ...*contestant) error {
	var workers []*worker
	for _, c := range contestants {
		w, err := startWorker(c.executable, c.variables...)
		if err != nil {
			return err
		}
		defer w.stop()
		workers = append(workers, w)
	}
	const warmUp = 3
	for i := range warmUp + b.rotations {
		for n, c := range contestants {
			before, err := workers[n].cpu()
			if err != nil {
				return err
			}
			took, err := workers[n].rotate(ctx, c.event())
			if err != nil {
				return err
			}
			if i < warmUp {
				continue
			}
			after, err := workers[n].cpu()
			if err != nil {
				return err
			}
			c.took = append(c.took, milliseconds(took))
			c.cpu += milliseconds(after-before) / float64(b.rotations)
		}
	}
	for n, c := range contestants {
		var err error
		if c.memory, err = workers[n].peakMemory(); err != nil {
			return err
		}
	}
	return nil
}

// measureTurns counts what a rotation waits for on the network, where a database is further away than here.
func (b *bench) measureTurns(ctx context.Context, executables executables, engine, name string, server *dbtest.Server) error {
	ourVariables, provedVariables := variables(server, false) // TLS adds as many to both, and its tickets come when they like
	var ours, proved counts
	for _, c := range []struct {
		*counts
		executable string
		variables  []string
	}{{&ours, executables.ours, ourVariables}, {&proved, executables.rotator, provedVariables}} {
		w, err := startWorker(c.executable, c.variables...)
		if err != nil {
			return err
		}
		*c.counts, err = countTurns(server, func(port int) error {
			_, err := w.rotate(ctx, rotation(engine, server.Host, port, 0))
			return err
		})
		w.stop()
		if err != nil {
			return err
		}
	}
	where := name + ", plain text"
	b.add(
		row{Measure: "network round trips a rotation, " + where, Ours: float64(ours.turns), Baseline: float64(proved.turns), Against: leastProved},
		row{Measure: "connections at once in a rotation, " + where, Ours: float64(ours.open), Baseline: float64(proved.open), Against: leastProved, MaxOurs: atMost(1)},
	)
	return nil
}
