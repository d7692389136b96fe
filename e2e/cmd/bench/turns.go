package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"esc-connector-lambda-go/lambda/dbtest"
)

// counts are what a client did with its connections to a server.
type counts struct {
	turns int // how often it waited for the network: each connection's opening, and each time that the server had the word
	open  int // connections at once, at the most
}

// countTurns runs the client against a port that leads to the server.
func countTurns(server *dbtest.Server, client func(port int) error) (counts, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(server.Host, "0"))
	if err != nil {
		return counts{}, fmt.Errorf("counting round trips: %w", err)
	}
	relay := relay{to: net.JoinHostPort(server.Host, strconv.Itoa(server.Port))}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { relay.carry(connection.(*net.TCPConn)) })
		}
	})
	err = client(listener.Addr().(*net.TCPAddr).Port)
	err = errors.Join(err, listener.Close())
	serving.Wait()
	return relay.counts, errors.Join(err, relay.failure)
}

// relay carries connections to an address, and counts.
type relay struct {
	to string

	lock    sync.Mutex
	counts  counts
	clients []*net.TCPConn
	failure error
}

// opened counts a connection, and those that the client has beside it. A client that has closed one before it opened the
// next does not have both: the kernel knows that before the one that carries the first has read as far as its end.
func (r *relay) opened(client *net.TCPConn) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.counts.turns++
	r.clients = append(r.clients, client)
	open := 0
	for _, client := range r.clients {
		established, err := established(client)
		if err != nil {
			return err
		}
		if established {
			open++
		}
	}
	r.counts.open = max(r.counts.open, open)
	return nil
}

// established is whether neither end has closed the connection.
func established(connection *net.TCPConn) (bool, error) {
	raw, err := connection.SyscallConn()
	if err != nil {
		return false, fmt.Errorf("looking at a connection: %w", err)
	}
	var info *unix.TCPInfo
	var failure error
	err = raw.Control(func(descriptor uintptr) {
		info, failure = unix.GetsockoptTCPInfo(int(descriptor), unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	switch {
	case errors.Is(err, net.ErrClosed):
		return false, nil
	case err != nil || failure != nil:
		return false, fmt.Errorf("looking at a connection: %w", errors.Join(err, failure))
	}
	return info.State == unix.BPF_TCP_ESTABLISHED, nil
}

// carry returns when both ends have closed.
func (r *relay) carry(client *net.TCPConn) {
	defer client.Close()
	err := r.opened(client)
	var server net.Conn
	if err == nil {
		server, err = net.Dial("tcp", r.to)
	}
	if err != nil {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.failure = fmt.Errorf("counting round trips: %w", err)
		return
	}
	serversTurn := false
	var directions sync.WaitGroup
	directions.Go(func() {
		r.copy(server, client, func() { serversTurn = false })
		_ = server.Close()
	})
	directions.Go(func() {
		r.copy(client, server, func() {
			if !serversTurn {
				serversTurn = true
				r.counts.turns++
			}
		})
		_ = client.Close()
	})
	directions.Wait()
}

// copy copies until either end closes, and has seen called, under the lock, before it passes bytes on.
func (r *relay) copy(to, from net.Conn, seen func()) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			r.lock.Lock()
			seen()
			r.lock.Unlock()
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
