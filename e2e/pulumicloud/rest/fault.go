package rest

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Fault makes requests fail.
type Fault struct {
	// Status answers with this HTTP status. 0 hangs until the client gives up, or [Faults.Recover].
	Status int
	// Drop closes the connection, and answers nothing.
	Drop bool
	// Late serves the request, and then hangs: it is done, and its client never hears of it. One that is refused is
	// answered.
	Late bool
	// Method limits the fault to one HTTP method. Empty: all.
	Method string
	// Path limits the fault to URL paths that contain it. Empty: all.
	Path string
	// Says limits the fault to requests whose query, body or header X-Amz-Target contains it, as those of AWS that name a call. Empty: all.
	Says string
	// After lets this many matching requests pass first.
	After int
	// Times ends the fault after so many requests. 0: until [Faults.Recover].
	Times int
}

// Faults are those of one service. The zero value has none.
type Faults struct {
	mu        sync.Mutex
	faults    []*Fault
	recovered chan struct{} // closed when the service recovers
	hanging   atomic.Int32  // requests that wait in vain
}

// Fail makes matching requests fail from now on. The first fault that matches wins.
func (f *Faults) Fail(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = append(f.faults, &fault)
}

// Recover ends all faults.
func (f *Faults) Recover() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
	if f.recovered != nil {
		close(f.recovered)
		f.recovered = nil
	}
}

// Hanging reports whether a request waits for an answer that a fault of status 0 withholds.
func (f *Faults) Hanging() bool { return f.hanging.Load() > 0 }

// Serve has the handler serve the request, unless a fault matches it.
func (f *Faults) Serve(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	fault := f.match(r)
	switch {
	case fault == nil:
		handler.ServeHTTP(w, r)
	case fault.Drop:
		panic(http.ErrAbortHandler)
	case fault.Late:
		served := httptest.NewRecorder()
		handler.ServeHTTP(served, r)
		if served.Code < http.StatusBadRequest {
			f.hang(r)
		}
		maps.Copy(w.Header(), served.Header())
		w.WriteHeader(served.Code)
		_, _ = served.Body.WriteTo(w)
	case fault.Status == 0:
		f.hang(r)
	default:
		Fail(w, fault.Status, http.StatusText(fault.Status))
	}
}

// hang waits until the client gives up, or the service recovers: then the connection is closed.
func (f *Faults) hang(r *http.Request) {
	f.mu.Lock()
	if f.recovered == nil {
		f.recovered = make(chan struct{})
	}
	recovered := f.recovered
	f.mu.Unlock()
	f.hanging.Add(1)
	defer f.hanging.Add(-1)
	// The server sees that the client has gone once the body is read.
	_, _ = io.Copy(io.Discard, r.Body)
	select {
	case <-r.Context().Done():
	case <-recovered:
	}
	panic(http.ErrAbortHandler)
}

// says leaves the body to be read again.
func says(r *http.Request, text string) bool {
	if text == "" || strings.Contains(r.URL.RawQuery, text) || strings.Contains(r.Header.Get("X-Amz-Target"), text) {
		return true
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return err == nil && bytes.Contains(body, []byte(text))
}

func (f *Faults) match(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range f.faults {
		if fault.Method != "" && fault.Method != r.Method || !strings.Contains(r.URL.Path, fault.Path) || !says(r, fault.Says) {
			continue
		}
		if fault.After > 0 {
			fault.After--
			continue
		}
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.faults = slices.Delete(f.faults, i, i+1)
			}
		}
		return fault
	}
	return nil
}
