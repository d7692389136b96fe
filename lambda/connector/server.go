package connector

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"esc-connector-lambda-go/lambda/event"
)

// Server is the database server of one event: where it is, and how far the work on the event has come.
type Server struct {
	Host string
	Port int
	// TLS are the terms, nil for plain text.
	TLS *TLS
	// IAM: the managing user logs in by a Token, and not by the event's password.
	IAM bool

	patience  time.Duration // how long network trouble is tried again; 0 until the deadline
	addresses []netip.Addr

	lock      sync.Mutex
	stage     Stage
	state     State
	wire      wire
	open      map[*conn]bool
	authority *x509.Certificate // that vouches for the server's certificate; nil where none was verified
}

// NewServer is the server that a request names.
func NewServer(request event.Request, terms *TLS) *Server {
	const ofDryRun = 3 * time.Second // which can be run again at any time
	server := &Server{Host: strings.TrimSuffix(strings.TrimPrefix(request.Host, "["), "]"), Port: request.Port, TLS: terms,
		stage: StageConnect, state: Unchanged, open: map[*conn]bool{}}
	if request.DryRun {
		server.patience = ofDryRun
	}
	return server
}

// Address is host and port, for people.
func (s *Server) Address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// SetStage notes the stage. From the moment that a change has left, every step is a part of it, and after the change a
// part of the proof.
func (s *Server) SetStage(stage Stage) {
	s.lock.Lock()
	defer s.lock.Unlock()
	switch s.state {
	case MaybeChanged:
		stage = StageChange
	case Changed:
		stage = StageProve
	case MaybeMade:
		stage = StagePrepare
	}
	s.stage = stage
}

// Stage is the one that was noted last.
func (s *Server) Stage() Stage {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.stage
}

// SetState notes what became of the password: MaybeChanged before a change leaves, and Changed or Unchanged only when
// that is certain.
func (s *Server) SetState(state State) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.state = state
}

// State is what became of the password, as far as is known.
func (s *Server) State() State {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.state
}

// Fail is a failure at this stage and in this state.
func (s *Server) Fail(why, fix string) *Failure {
	s.lock.Lock()
	defer s.lock.Unlock()
	return &Failure{Stage: s.stage, State: s.state, Why: why, Fix: fix}
}

// Addresses are what the host resolved to, for people. There are none before the first connection.
func (s *Server) Addresses() string {
	var texts []string
	for _, address := range s.addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, ", ")
}

// Retry runs what can be repeated without harm at the server's addresses until one answers, whatever it answers. What
// fails for a transient reason is run again, and the host resolved again, as long as ctx leaves the time. This is the
// only place that tries network trouble again. The error is a *Failure.
func (s *Server) Retry(ctx context.Context, attempt func(ctx context.Context, address netip.AddrPort) error) error {
	start := time.Now()
	var seen *Failure // the last that was not just the end of the time
	for tries := 1; ; tries++ {
		err := s.try(ctx, attempt)
		failure := AsFailure(err)
		if failure == nil {
			return err
		}
		if ctx.Err() != nil && seen != nil {
			failure = seen
		}
		seen = failure
		impatient := s.patience > 0 && time.Since(start) > s.patience
		if failure.Transient && !impatient && Pause(ctx, tries) {
			continue
		}
		if failure.Transient && tries > 1 {
			failure.Why += fmt.Sprintf("; tried %d times in %s", tries, Seconds(time.Since(start)))
		}
		return failure
	}
}

// try runs attempt once at each address until one answers. Each gets a share of the time that is left, so that there is
// some for the next one, or for another round. The address that answered comes first the next time.
func (s *Server) try(ctx context.Context, attempt func(ctx context.Context, address netip.AddrPort) error) error {
	if err := s.resolve(ctx); err != nil {
		return err
	}
	var failure *Failure
	for i, address := range s.addresses {
		share, cancel := s.share(ctx, len(s.addresses)-i)
		err := attempt(share, netip.AddrPortFrom(address, uint16(s.Port)))
		cancel()
		failure = nil
		if err != nil {
			failure = s.Broken(err)
		}
		if failure == nil || !failure.Transient {
			s.addresses = slices.Concat([]netip.Addr{address}, s.addresses[:i], s.addresses[i+1:])
			break
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failure == nil {
		return nil
	}
	if failure.Transient {
		if len(s.addresses) > 1 {
			failure = failure.And("Tried " + s.Addresses())
		}
		s.addresses = nil // a server that failed over has another address
	}
	return failure
}

// resolve finds the host's addresses, where they are not known. The error is a *Failure.
func (s *Server) resolve(ctx context.Context) error {
	if s.addresses != nil {
		return nil
	}
	s.dialling()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.Host)
	if err != nil {
		return s.Broken(err)
	}
	for _, address := range addresses {
		if address = address.Unmap(); !slices.Contains(s.addresses, address) {
			s.addresses = append(s.addresses, address)
		}
	}
	return nil
}

// share is the time for one address of so many that are left.
func (s *Server) share(ctx context.Context, addresses int) (context.Context, context.CancelFunc) {
	const enough = 2 * time.Second // less is not worth another round
	deadline, bound := ctx.Deadline()
	if left := time.Until(deadline); bound && (addresses > 1 || left > enough) {
		return context.WithTimeout(ctx, left/time.Duration(addresses+1))
	}
	return context.WithCancel(ctx)
}

// Pause waits a moment before the next attempt, longer after each. It is false when ctx ends first, or soon after.
func Pause(ctx context.Context, tries int) bool {
	const first, longest = 100 * time.Millisecond, time.Second
	moment := min(first<<min(tries-1, 10), longest)
	if deadline, bound := ctx.Deadline(); bound {
		const least = 2 * first // for the attempt itself
		left := time.Until(deadline) - least
		if left < first {
			return false
		}
		moment = min(moment, left)
	}
	timer := time.NewTimer(moment)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Bound is the time that the work on an event has: the deadline of ctx, less a reserve for the answer.
type Bound struct {
	// Work ends first, with an error of its own words.
	Work time.Time
	// Answer is when the answer is given, whether the work has ended or not.
	Answer time.Time
}

// NewBound divides the time that ctx leaves. Without a deadline it is half a minute.
func NewBound(ctx context.Context) Bound {
	deadline, bound := ctx.Deadline()
	if !bound {
		deadline = time.Now().Add(30 * time.Second)
	}
	reserve := min(max(time.Until(deadline)/10, 150*time.Millisecond), time.Second)
	return Bound{Work: deadline.Add(-reserve), Answer: deadline.Add(-reserve / 2)}
}

// ServerBound is how long the server may work on the change, with a wait for a lock in it: less than the time that ctx
// leaves, so that the server gives a change up before the connector does. The error is a *Failure when too little is left
// for a bound of least.
func (s *Server) ServerBound(ctx context.Context, least time.Duration) (time.Duration, error) {
	deadline, bound := ctx.Deadline()
	if !bound {
		return 10 * time.Second, nil
	}
	left := time.Until(deadline)
	share := left * 3 / 4
	if share < least && least < left*9/10 {
		share = least
	}
	if share < least {
		return 0, s.Fail("only "+Seconds(max(left, 0))+" were left of the function's time, too little to bound the change",
			"Give the function a longer timeout, or find out why the steps before took so long")
	}
	return share, nil
}
