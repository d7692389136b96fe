package connector

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// linkLocal are the networks where no database stands but the cloud's own services do: instance metadata, credentials
// and time (the EC2 user guide's pages "Access instance metadata" and "Set the time reference"), besides neighbours.
var linkLocal = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("fd00:ec2::/32"),
}

// conn is a TCP connection to the server. What the server may send over it is bounded, and it ends with the event,
// whatever a driver makes of it.
type conn struct {
	net.Conn
	server *Server
	left   atomic.Int64 // bytes that the server may still send
}

// mostBytes bounds what a server may send over one connection: a rotation reads a few thousand.
const mostBytes = 1 << 20

// errTooMuch is the error for a server that sends more than mostBytes.
var errTooMuch = errors.New("the server sent more than a rotation reads")

func (c *conn) Read(buffer []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(buffer[:min(int64(len(buffer)), left)])
	if n > 0 {
		c.left.Add(int64(-n))
		c.server.heard()
	}
	return n, err
}

func (c *conn) Write(data []byte) (int, error) {
	c.server.asked()
	return c.Conn.Write(data)
}

// Close ends the connection. While it is not known what became of a change, what the kernel still holds of it is thrown
// away: Lambda freezes a function after its answer, and would send the rest hours later.
func (c *conn) Close() error {
	c.server.lock.Lock()
	delete(c.server.open, c)
	c.server.lock.Unlock()
	if tcp, ok := c.Conn.(*net.TCPConn); ok && (c.server.State() == MaybeChanged || c.server.State() == MaybeMade) {
		_ = tcp.SetLinger(0)
	}
	return c.Conn.Close()
}

// Dial opens a TCP connection. A link-local address is refused where the connection is made. The error is a *Failure.
func (s *Server) Dial(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	s.SetStage(StageConnect)
	s.dialling()
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, dialled string, _ syscall.RawConn) error {
		return s.refuseLinkLocal(dialled)
	}}
	plain, err := dialer.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, s.Broken(err)
	}
	c := &conn{Conn: plain, server: s}
	c.left.Store(mostBytes)
	s.lock.Lock()
	s.open[c] = true
	s.lock.Unlock()
	return c, nil
}

// Close ends the connections that are still open.
func (s *Server) Close() {
	s.lock.Lock()
	var open []*conn
	for c := range s.open {
		open = append(open, c)
	}
	s.lock.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

func (s *Server) refuseLinkLocal(dialled string) error {
	target, err := netip.ParseAddrPort(dialled)
	if err != nil {
		return err
	}
	address := target.Addr().Unmap().WithZone("")
	for _, network := range linkLocal {
		if network.Contains(address) {
			return s.Fail("host "+strconv.Quote(s.Host)+" is the link-local address "+address.String()+", where no database stands but the cloud's own services do: refused",
				"Use the database's endpoint as host")
		}
	}
	return nil
}

// TimedOut reports whether an error is that of a deadline.
func TimedOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// hungUp reports whether an error is that of a connection that the other end has closed.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isNetwork reports whether an error is of the way to the server, and not of what was said there.
func isNetwork(err error) bool {
	return TimedOut(err) || hungUp(err) || errors.Is(err, errTooMuch) || errors.As(err, new(syscall.Errno))
}

// Broken is the failure of a connection that could not be made, or broke. The way to the server is named as a cause only
// as long as the server has said nothing over it.
func (s *Server) Broken(err error) *Failure {
	const path = "Check that the function's security group may reach the database's, that the database's security group still lets the function's in " +
		"(a rule that another tool removed comes back with pulumi up --refresh), and that host and port are right"
	if failure := AsFailure(err); failure != nil {
		return failure
	}
	took, spoken := s.waited()
	fail := func(why, fix string) *Failure {
		failure := s.Fail(s.Address()+": "+why, fix)
		failure.Transient = true
		return failure
	}
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return s.Fail(s.Address()+": the name does not resolve", "Check the spelling of host, and that the function's VPC has DNS support and can see the name's zone")
	case errors.As(err, &dns):
		return fail("the name did not resolve within "+took, "Check that the function's VPC has DNS support and that its DNS servers answer; servers of your own must let the function in, and its security group must let it out to them, at port 53")
	case errors.Is(err, errTooMuch):
		return s.Fail(s.Address()+": the server sent more than a rotation reads (a megabyte)", "Check that host and port are those of a database of this type")
	case TimedOut(err) && spoken:
		return fail("the server had answered before, and then did not for "+took, "Find out what the database was busy with, or whether it failed over: read its log, and try again")
	case TimedOut(err):
		return fail("no answer after "+took, path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fail("nothing listens there (connection refused)", "Check host and port, and that the database is running")
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return fail("there is no route to it", path)
	case hungUp(err) && spoken:
		return fail("the server had answered before, and then closed the connection", "Read the database's log: it tells whether it restarted, failed over or ended the session; then try again")
	case hungUp(err):
		return fail("the server closed the connection after "+took, "Check that host and port are those of a database of this type, and read the database's log")
	case errors.As(err, &operation) && operation.Op == "remote error": // a TLS alert after the handshake
		return s.Fail(s.Address()+": the server broke off the TLS connection", "It may ask for a client certificate, and the connector has none; read the database's log")
	case spoken:
		return fail("the connection failed after the server had answered", "Read the database's log, and try again")
	default:
		return fail("the connection failed after "+took, path)
	}
}

// wire is what was last seen of a connection: when the server was asked last, and whether it has said anything.
type wire struct {
	since  time.Time
	spoken bool
}

func (s *Server) dialling() { s.onWire(func(w *wire) { *w = wire{since: time.Now()} }) }
func (s *Server) asked()    { s.onWire(func(w *wire) { w.since = time.Now() }) }
func (s *Server) heard()    { s.onWire(func(w *wire) { w.since, w.spoken = time.Now(), true }) }

func (s *Server) onWire(note func(*wire)) {
	s.lock.Lock()
	defer s.lock.Unlock()
	note(&s.wire)
}

// waited is how long the server has been silent, and whether it has said anything over the last connection.
func (s *Server) waited() (took string, spoken bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return Seconds(time.Since(s.wire.since)), s.wire.spoken
}
