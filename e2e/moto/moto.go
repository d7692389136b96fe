// Package moto runs moto_server, which plays AWS.
package moto

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"esc-connector-lambda-go/lambda/dbtest"
)

// startTimeout is many times what a slow machine takes.
const startTimeout = time.Minute

// Server is a running moto_server.
type Server struct {
	URL string

	command *exec.Cmd
	log     string
	ended   chan struct{}
}

// Start runs the moto_server on PATH, else the one that setup.sh installed, on a free port of loopback, and waits until
// it answers. It ends with this process, whatever ends that. Its output goes to the file at log.
func Start(ctx context.Context, log string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, fmt.Errorf("looking for moto: %w", err)
	}
	port, err := dbtest.FreePort("127.0.0.1")
	if err != nil {
		return nil, fmt.Errorf("starting moto: %w", err)
	}
	output, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("starting moto: %w", err)
	}
	defer output.Close()
	address := "127.0.0.1:" + strconv.Itoa(port)
	s := &Server{
		URL: "http://" + address, command: exec.Command(program, "-H", "127.0.0.1", "-p", strconv.Itoa(port)),
		log: log, ended: make(chan struct{}),
	}
	// Roles are looked at by the gateway; moto's own managed policies cost a second per account, and its machine images
	// some more.
	s.command.Env = append(os.Environ(), "MOTO_IAM_LOAD_MANAGED_POLICIES=false", "MOTO_EC2_LOAD_DEFAULT_AMIS=false")
	s.command.Stdout, s.command.Stderr = output, output
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("starting moto (%s): %w; e2e/setup.sh installs it", program, err)
	}
	go func() {
		_ = s.command.Wait()
		close(s.ended)
	}()
	if err := s.wait(ctx); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func find() (string, error) {
	if program, err := exec.LookPath("moto_server"); err == nil {
		return program, nil
	}
	cache, err := dbtest.CacheFolder()
	return filepath.Join(cache, "moto", "bin", "moto_server"), err
}

func (s *Server) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/moto-api/data.json", nil)
		if err != nil {
			return fmt.Errorf("asking moto: %w", err)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			return response.Body.Close()
		}
		select {
		case <-s.ended:
			said, _ := os.ReadFile(s.log)
			return fmt.Errorf("moto ended at its start: %s", said)
		case <-ctx.Done():
			return fmt.Errorf("waiting for moto at %s: %w", s.URL, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// PID is the id of the server's process.
func (s *Server) PID() int { return s.command.Process.Pid }

// Stop ends the server.
func (s *Server) Stop() error {
	err := s.command.Process.Kill()
	<-s.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
