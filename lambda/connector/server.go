package connector

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is the database server of one event.
type Server struct {
	Host string
	Port int
	// TLS are the terms, nil for plain text.
	TLS *TLS

	addresses []netip.Addr
	stage     atomic.Value
	state     atomic.Value
}

// NewServer is the server that a request names.
func NewServer(request Request, terms *TLS) *Server {
	server := &Server{Host: strings.TrimSuffix(strings.TrimPrefix(request.Host, "["), "]"), Port: request.Port, TLS: terms}
	server.state.Store(Unchanged)
	server.SetStage(StageConnect)
	return server
}

// Address is host and port, for people.
func (s *Server) Address() string {
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// SetStage notes the stage, for the answer to an event whose work does not end. After the change every stage is a part of
// the proof.
func (s *Server) SetStage(stage Stage) {
	if s.State() == Changed {
		stage = StageProve
	}
	s.stage.Store(stage)
}

// SetState notes what became of the password.
func (s *Server) SetState(state State) { s.state.Store(state) }

// State is what became of the password, as far as is known.
func (s *Server) State() State { return s.state.Load().(State) }

// Stage is the one that was entered last.
func (s *Server) Stage() Stage { return s.stage.Load().(Stage) }

// Addresses are what the host resolved to, for people. There are none before the first connection.
func (s *Server) Addresses() string {
	var texts []string
	for _, address := range s.addresses {
		texts = append(texts, address.String())
	}
	return strings.Join(texts, ", ")
}

// Try runs attempt on the server's addresses until one answers, whatever it answers: each gets a share of the time that
// ctx leaves, the last one all the rest. The address that answered comes first the next time. The error is a *Failure.
func (s *Server) Try(ctx context.Context, attempt func(ctx context.Context, address netip.AddrPort) error) error {
	start := time.Now()
	if s.addresses == nil {
		addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", s.Host)
		if err != nil {
			return s.Broken(StageConnect, err, time.Since(start))
		}
		for _, address := range addresses {
			if address = address.Unmap(); !slices.Contains(s.addresses, address) {
				s.addresses = append(s.addresses, address)
			}
		}
	}
	var failure *Failure
	for i, address := range s.addresses {
		share, cancel := ctx, context.CancelFunc(func() {})
		if left := len(s.addresses) - i; left > 1 {
			if deadline, bound := ctx.Deadline(); bound {
				share, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left+1))
			}
		}
		err := attempt(share, netip.AddrPortFrom(address, uint16(s.Port)))
		cancel()
		failure = nil
		if err != nil && !errors.As(err, &failure) {
			failure = s.Broken(s.Stage(), err, time.Since(start))
		}
		if failure == nil || !failure.Unreachable {
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
	if failure.Unreachable && len(s.addresses) > 1 {
		return failure.And("Tried " + s.Addresses())
	}
	return failure
}

// linkLocal are the networks where no database stands but the cloud's own services do: instance metadata, credentials
// and time (the EC2 user guide's pages "Access instance metadata" and "Set the time reference"), besides neighbours.
var linkLocal = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::/32"),
}

// Dial opens a TCP connection. A link-local address is refused where the connection is made.
func (s *Server) Dial(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	start := time.Now()
	s.SetStage(StageConnect)
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, dialled string, _ syscall.RawConn) error {
		return s.refuseLinkLocal(dialled)
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, s.Broken(StageConnect, err, time.Since(start))
	}
	return conn, nil
}

func (s *Server) refuseLinkLocal(dialled string) error {
	target, err := netip.ParseAddrPort(dialled)
	if err != nil {
		return err
	}
	address := target.Addr().Unmap().WithZone("")
	for _, network := range linkLocal {
		if network.Contains(address) {
			return &Failure{Stage: StageConnect, State: Unchanged,
				Why: "host " + strconv.Quote(s.Host) + " is the link-local address " + address.String() + ", where no database stands but the cloud's own services do: refused",
				Fix: "Use the database's endpoint as host"}
		}
	}
	return nil
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

// ServerBound is how long the server may work on the change: less than the time that ctx leaves, so that a change which
// the client gave up is not applied later, with time left for the proof. The error is a *Failure when too little is
// left for a bound of least.
func ServerBound(ctx context.Context, least time.Duration) (time.Duration, error) {
	deadline, bound := ctx.Deadline()
	if !bound {
		return 10 * time.Second, nil
	}
	left := time.Until(deadline)
	share := left * 3 / 5
	if share < least && least < left*9/10 {
		share = least
	}
	if share < least {
		return 0, &Failure{Stage: StageChange, State: Unchanged,
			Why: "only " + Seconds(max(left, 0)) + " were left of the function's time, too little to bound the change",
			Fix: "Give the function a longer timeout, or find out why the steps before took so long"}
	}
	return share, nil
}

// Pause waits a moment before another attempt. It is false when ctx ends first, or soon after.
func Pause(ctx context.Context) bool {
	const moment = 100 * time.Millisecond
	if deadline, bound := ctx.Deadline(); bound && time.Until(deadline) < 3*moment {
		return false
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

// Proof is what is known of the new password after a rotation.
type Proof string

// The proofs, as the log names them.
const (
	ProofDone    Proof = "done"
	ProofSkipped Proof = "skipped" // no login is possible from here
	ProofNone    Proof = "none"    // none was tried
)

// Outcome is what came of an event that went well.
type Outcome struct {
	Proof Proof
	// Note is for the log: why a proof was skipped, or what the server said after it let the user in.
	Note string
	// Message is for the caller: "ok", or what a dry run found.
	Message string
}
