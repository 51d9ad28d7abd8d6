//go:build linux && real

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A request is one that a client sent.
type request struct {
	Method string
	Path   string // below the upload URL
	Header http.Header
	Body   []byte
	Status int // of the answer that it got
}

// A script is what a real Nix sends, one request after the other. It is sent
// again thousands of times: starting Nix as often would take hours.
type script struct {
	name     string
	requests []request
	// waits: the records come first and are held, so that they appear when no
	// client waits for them any more. A failed publication is tried again.
	waits bool
}

// record has a Nix copy paths, and afterwards add a signature by another key to
// one of them, to a server that takes everything; and writes down what it sends.
// A log, for which Nix would have to have built something, is sent the same way.
func record(t testing.TB, nix peers.Nix, c closure, other nixtest.Key) script {
	t.Helper()
	s := script{name: "Nix " + nix.Version}
	var mu sync.Mutex
	taken := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		name := strings.TrimPrefix(r.URL.Path, "/upload/")
		status := http.StatusOK
		if r.Method == http.MethodPut {
			taken[name], status = body, http.StatusCreated
		} else if _, ok := taken[name]; !ok {
			status = http.StatusNotFound
		}
		header := r.Header.Clone()
		header.Del("Content-Length")
		s.requests = append(s.requests, request{r.Method, name, header, body, status})
		w.WriteHeader(status)
		if r.Method == http.MethodGet {
			w.Write(taken[name])
		}
	}))
	defer server.Close()
	pushWith(t, nix, c, server.URL)
	nix.Home = t.TempDir() // or it would sign what it remembers
	nix.Output(t, "nix", "store", "sign", "--store", server.URL+"/upload", "-k", other.File, c.Paths[0])
	s.requests = append(s.requests, request{http.MethodPut, "log/" + deriver, s.requests[0].Header, []byte("it was built\n"), http.StatusCreated})
	return s
}

// pushWith has a Nix copy the closure.
func pushWith(t testing.TB, nix peers.Nix, c closure, url string) {
	t.Helper()
	nix.Output(t, "nix", pushArgs(c, url)...)
}

func pushArgs(c closure, url string) []string {
	return append([]string{"copy", "--no-check-sigs", "--store", c.Root, "--option", "download-attempts", "1", "--to",
		url + "/upload?compression=zstd&write-nar-listing=true&index-debug-info=true"}, c.Paths...)
}

// copied returns the script of a program that copies a cache file by file, the
// records first: they have to wait for what they lead to.
func (s script) copied() script {
	files := script{name: "a program that copies files", waits: true}
	for _, r := range s.requests {
		again := slices.ContainsFunc(files.requests, func(f request) bool { return f.Path == r.Path })
		if r.Method != http.MethodPut || again {
			continue
		}
		r.Header = http.Header{"User-Agent": {"rclone/v1.60"}}
		files.requests = append(files.requests, r)
	}
	slices.SortStableFunc(files.requests, func(a, b request) int {
		return rank(a.Path) - rank(b.Path)
	})
	return files
}

// rank puts records before NARs, and all else before both.
func rank(path string) int {
	switch {
	case strings.HasSuffix(path, ".narinfo"):
		return 1
	case strings.HasPrefix(path, "nar/"):
		return 2
	}
	return 0
}

// A refusal is an answer that ends a script.
type refusal struct {
	request request
	status  int
	text    string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("%s %s: status %d: %s", r.request.Method, r.request.Path, r.status, r.text)
}

// send sends the script to a server, which may have some of it already: like Nix,
// it leaves out what it finds there. It ends with the first answer other than
// success.
func (s script) send(ctx context.Context, url string) error {
	transport := &http.Transport{DisableCompression: true, ExpectContinueTimeout: time.Second}
	defer transport.CloseIdleConnections()
	skip := map[string]bool{}
	for _, r := range s.requests {
		if r.Method == http.MethodPut && skip[r.Path] {
			continue
		}
		status, text, err := r.send(ctx, transport, url)
		switch {
		case err != nil:
			return fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
		case status/100 == 2 && r.Status == http.StatusNotFound:
			skip[r.Path] = true
			for _, with := range s.with(r.Path) {
				skip[with] = true
			}
		case status/100 == 2:
			skip[r.Path] = false
		case status != r.Status:
			return &refusal{r, status, text}
		}
	}
	return nil
}

// with returns what need not be sent if a record is there.
func (s script) with(record string) []string {
	hash, ok := strings.CutSuffix(record, ".narinfo")
	if !ok {
		return nil
	}
	names := []string{hash + ".ls"}
	for _, r := range s.requests {
		if r.Method == http.MethodPut && r.Path == record {
			names = append(names, field(string(r.Body), "URL"))
		}
	}
	return names
}

// field returns the first value of a field of a narinfo.
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

func (r request) send(ctx context.Context, transport http.RoundTripper, url string) (status int, text string, err error) {
	q, err := http.NewRequestWithContext(ctx, r.Method, url+"/upload/"+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return 0, "", err
	}
	q.Header = r.Header
	response, err := transport.RoundTrip(q)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return 0, "", err
	}
	return response.StatusCode, string(body), nil
}

// refused returns the answer that a script ended with, nil if it ended well or
// for want of an answer.
func refused(err error) *refusal {
	var r *refusal
	errors.As(err, &r)
	return r
}
