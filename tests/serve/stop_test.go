//go:build real

package serve_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// A slowUpload sends a NAR of a tree, and stops in the middle until it is told
// to go on.
type slowUpload struct {
	name   string
	rest   []byte
	body   *io.PipeWriter
	result chan error
	status int
}

// beginUpload sends the first half of a NAR, and returns when the server has it.
func beginUpload(t testing.TB, s *server) *slowUpload {
	t.Helper()
	nars, err := filepath.Glob(filepath.Join(exportedTree(t, s.Key), "nar", "*"))
	if err != nil || len(nars) == 0 {
		t.Fatalf("no NARs: %v", err)
	}
	var text []byte
	u := &slowUpload{result: make(chan error, 1)}
	for _, nar := range nars { // the largest, so that a half is more than a buffer
		if b := readFile(t, nar); len(b) > len(text) {
			u.name, text = filepath.Base(nar), []byte(b)
		}
	}
	var body *io.PipeReader
	body, u.body = io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/upload/nar/"+u.name, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Token)
	r.ContentLength = int64(len(text))
	go func() {
		response, err := (&http.Transport{}).RoundTrip(r)
		if err == nil {
			u.status = response.StatusCode
			response.Body.Close()
		}
		u.result <- err
	}()
	half := len(text) / 2
	u.rest = text[half:]
	if _, err := u.body.Write(text[:half]); err != nil {
		t.Fatal(err)
	}
	until(t, "the first half is staged", func() bool {
		staged, _ := filepath.Glob(filepath.Join(s.Tree, ".nixstatic", "staging", "*", "*"))
		for _, f := range staged {
			if st, err := os.Stat(f); err == nil && st.Size() > 0 {
				return true
			}
		}
		return false
	})
	return u
}

// finish sends the other half and returns the status.
func (u *slowUpload) finish(t testing.TB) int {
	t.Helper()
	if _, err := io.Copy(u.body, bytes.NewReader(u.rest)); err != nil {
		t.Fatal(err)
	}
	u.body.Close()
	if err := <-u.result; err != nil {
		t.Fatal(err)
	}
	return u.status
}

// A server that is told to stop takes no more requests, and finishes those that
// it has.
func TestStopFinishesUploads(t *testing.T) {
	s := start(t)
	u := beginUpload(t, s)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	until(t, "nobody new is served", func() bool {
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(mustRequest(t, s.URL+"/nix-cache-info"))
		if err == nil {
			response.Body.Close()
		}
		return err != nil
	})
	if status := u.finish(t); status != 201 {
		t.Errorf("status %d", status)
	}
	s.wait(t)
	if _, err := os.Stat(filepath.Join(s.Tree, "nar", u.name)); err != nil {
		t.Error(err)
	}
	verify(t, s.Tree)
}

func mustRequest(t testing.TB, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// It waits so long and no longer, and tells that something was cut off.
func TestStopCutsOff(t *testing.T) {
	s := start(t, "--shutdown-timeout", "200ms")
	u := beginUpload(t, s)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := s.cmd.Wait()
	s.exited = true
	if err == nil || !strings.Contains(s.log.String(), "were cut off") {
		t.Errorf("%v:\n%s", err, s.log)
	}
	u.body.CloseWithError(errors.New("over"))
	<-u.result
	if _, err := os.Stat(filepath.Join(s.Tree, "nar", u.name)); !os.IsNotExist(err) {
		t.Errorf("half a NAR is in the tree: %v", err)
	}
	verify(t, s.Tree)
}

// A second signal ends it at once, and the tree is none the worse.
func TestStopTwice(t *testing.T) {
	s := start(t)
	u := beginUpload(t, s)
	for range 2 {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := s.cmd.Wait(); err == nil {
		t.Error("it ended as if all were well")
	}
	s.exited = true
	u.body.CloseWithError(errors.New("over"))
	<-u.result
	verify(t, s.Tree)
}

// A server that is killed while it takes uploads, at any moment, leaves a tree
// without a fault; started again it sweeps what is unfinished, and the client
// that tries again succeeds.
func TestKill(t *testing.T) {
	for i, nix := range peers.Nixes(t) {
		t.Run(nix.Version, func(t *testing.T) {
			t.Parallel()
			s, nix := start(t), fresh(t, nix)
			roots := named(t, "libcurl4-", "libgnutls30-")
			address := s.address(t)
			// It dies when so many records are there, and so far into the next path.
			for n := range 3 {
				var client sync.WaitGroup
				client.Go(func() { nix.Command(t, "nix", copyArgs(t, s.upload("compression=none"), roots...)...).Run() })
				until(t, "some paths are pushed", func() bool { return len(narinfos(t, s.Tree)) > 3*n+i })
				time.Sleep(time.Duration(10*i) * time.Millisecond)
				s.kill(t)
				verify(t, s.Tree, s.Key.Public)
				s.run(t, address)
				client.Wait()
			}
			push(t, nix, s.upload("compression=none"), roots...)
			// The server that runs has a folder and its lock; those of the dead are swept.
			staged, err := filepath.Glob(filepath.Join(s.Tree, ".nixstatic", "staging", "*[!k]"))
			if err != nil || len(staged) > 1 {
				t.Errorf("unfinished files of dead servers: %v, %v", staged, err)
			}
			pull(t, fresh(t, nix), s.URL, s.Key.Public, roots...)
			verify(t, s.Tree, s.Key.Public)
		})
	}
}
