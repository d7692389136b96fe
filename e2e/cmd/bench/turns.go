package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"

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
			serving.Go(func() { relay.carry(connection) })
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
	now     int // open connections
	failure error
}

func (r *relay) opened() {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.counts.turns++
	r.now++
	r.counts.open = max(r.counts.open, r.now)
}

// carry returns when both ends have closed.
func (r *relay) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		r.lock.Lock()
		defer r.lock.Unlock()
		r.failure = fmt.Errorf("counting round trips: %w", err)
		return
	}
	// Not before: the client closes one connection before it opens the next, and the news of that must arrive here.
	r.opened()
	serversTurn := false
	var directions sync.WaitGroup
	directions.Go(func() {
		r.copy(server, client, func() { serversTurn = false })
		r.lock.Lock()
		r.now--
		r.lock.Unlock()
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
