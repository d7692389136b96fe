package dbtest

import (
	"errors"
	"io"
	"net"
	"sync"
)

// Frame is the size in bytes of a protocol's next message, where begun is all that has come of it so far; 0 as long as that
// is too little to tell. number counts the messages of that direction from 0.
type Frame func(fromServer bool, number int, begun []byte) int

// Byte is the frame of a stream of bytes.
func Byte(bool, int, []byte) int { return 1 }

// Break is where a proxy breaks a connection.
type Break struct {
	// Connection is the number of the connection, from 0, or Each, and FromServer the direction.
	Connection int
	FromServer bool
	// After is the number of messages that still pass. A negative one is for a proxy that breaks nothing.
	After int
	// Stall keeps the connection open without another word, until the client leaves. What the client had sent by then
	// reaches the server only when Deliver is called, as it would through a network that comes back.
	Stall bool
	// Abort closes the connection by a reset.
	Abort bool
}

// Each is every connection.
const Each = -1

// Proxy stands between clients and a server on this machine.
type Proxy struct {
	Port int

	frame    Frame
	at       Break
	listener net.Listener
	all      sync.WaitGroup
	lock     sync.Mutex
	passed   map[Break]int // by connection and direction
	deliver  chan struct{}
	once     sync.Once
}

// StartProxy starts a proxy to a server's address.
func StartProxy(server string, frame Frame, at Break) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Port: listener.Addr().(*net.TCPAddr).Port, frame: frame, at: at, listener: listener, passed: map[Break]int{}, deliver: make(chan struct{})}
	p.all.Go(func() {
		for number := 0; ; number++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			var both sync.WaitGroup
			both.Go(func() { p.pass(client, upstream, Break{Connection: number}) })
			both.Go(func() { p.pass(upstream, client, Break{Connection: number, FromServer: true}) })
			p.all.Go(func() {
				both.Wait()
				client.Close()
				upstream.Close()
			})
		}
	})
	return p, nil
}

// Passed is how many messages have passed in a direction of a connection.
func (p *Proxy) Passed(connection int, fromServer bool) int {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.passed[Break{Connection: connection, FromServer: fromServer}]
}

// Deliver gives the server what stalled.
func (p *Proxy) Deliver() { p.once.Do(func() { close(p.deliver) }) }

// Stop ends the proxy and waits until its connections have ended.
func (p *Proxy) Stop() {
	p.Deliver()
	p.listener.Close()
	p.all.Wait()
}

// pass copies one direction of a connection, message by message.
func (p *Proxy) pass(from, to net.Conn, direction Break) {
	var pending []byte
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		pending = append(pending, buffer[:n]...)
		for len(pending) > 0 {
			p.lock.Lock()
			number := p.passed[direction]
			p.lock.Unlock()
			here := p.at.After >= 0 && (p.at.Connection == Each || p.at.Connection == direction.Connection) && p.at.FromServer == direction.FromServer && number >= p.at.After
			if here && p.at.Stall {
				p.stall(from, to, pending)
				return
			}
			if here {
				for _, conn := range []net.Conn{from, to} {
					if p.at.Abort {
						_ = conn.(*net.TCPConn).SetLinger(0)
					}
					conn.Close()
				}
				return
			}
			size := p.frame(direction.FromServer, number, pending)
			if size == 0 || size > len(pending) {
				break
			}
			if _, err := to.Write(pending[:size]); err != nil {
				from.Close()
				return
			}
			pending = pending[size:]
			p.lock.Lock()
			p.passed[direction]++
			p.lock.Unlock()
		}
		if err != nil {
			if tcp, is := to.(*net.TCPConn); is && errors.Is(err, io.EOF) {
				_ = tcp.CloseWrite()
			} else {
				to.Close()
			}
			return
		}
	}
}

// stall takes what comes, and says nothing more until Deliver.
func (p *Proxy) stall(from, to net.Conn, held []byte) {
	rest, _ := io.ReadAll(from) // until its end leaves
	<-p.deliver
	_, _ = to.Write(append(held, rest...))
	to.Close()
}
