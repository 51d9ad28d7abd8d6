package webdav

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// noted remembers what it is told.
type noted struct {
	mu   sync.Mutex
	seen []string
	err  error
}

func (n *noted) Note(_ context.Context, run layout.RunID, hashes ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range hashes {
		n.seen = append(n.seen, run.String()+" "+h)
	}
	return n.err
}

func (n *noted) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	seen := n.seen
	n.seen = nil
	return seen
}

func TestRunURLs(t *testing.T) {
	have := &noted{}
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Roots = have })
	c := treetest.Populate(t, r.tree)
	app := c.Named("app").Info.Path.Hash()
	absent := strings.Repeat("0", 32)
	narinfo, err := layout.ReadAll(t.Context(), r.tree, layout.NarInfoKeyOf(app))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path string
		status       int
		noted        string
	}{
		{"GET", "/upload/root/acme/app/main/run-1/nix-cache-info", 200, ""},
		{"GET", "/upload/root/acme/app/main/run-1/" + app + ".narinfo", 200, "acme/app/main@run-1 " + app},
		{"HEAD", "/upload/root/acme/1/" + app + ".narinfo", 200, "acme@1 " + app},
		{"GET", "/upload/root/acme/1/" + absent + ".narinfo", 404, ""},
		{"PUT", "/upload/root/acme/1/" + app + ".narinfo", 204, "acme@1 " + app},
		{"GET", "/upload/root/acme/log/nar/1/" + app + ".narinfo", 200, "acme/log/nar@1 " + app},
		{"GET", "/upload/root/acme/1/nar/" + absent + ".nar.zst", 404, ""},
		{"GET", "/upload/root/acme/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/" + app + ".narinfo", 400, ""},
		{"PUT", "/upload/root/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/1/", 400, ""},
		{"GET", "/upload/root/a%40b/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/../1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root//1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme%2fapp/1/" + app + ".narinfo", 404, ""},
		{"GET", "/upload/root/acme%2F..%2Fbeta/1/" + app + ".narinfo", 400, ""},
		{"PUT", "/upload/root/acme%2fapp/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/../beta/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/%2e%2e/beta/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/.../1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme//1/" + app + ".narinfo", 400, ""},
		{"PUT", "/upload/root/acme//1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acm%C3%A9/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme%20app/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme%00/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme%5c/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/%ff/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/1/" + app + ".narinfo/", 404, ""},
		{"GET", "/upload/root/" + strings.Repeat("a/", 1000) + "1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/" + strings.Repeat("a", 201) + "/1/" + app + ".narinfo", 400, ""},
		{"GET", "/upload/root/acme/" + strings.Repeat("1", 101) + "/" + app + ".narinfo", 400, ""},
		{"POST", "/upload/root/acme%2fapp/1/?missing", 405, ""},
		{"POST", "/upload/root/acme/app/main/run-1/?missing", 200, "acme/app/main@run-1 " + app},
		{"POST", "/upload/root/acme/?missing", 400, ""},
		{"POST", "/upload/?missing", 200, ""},
		{"GET", "/upload/" + app + ".narinfo", 200, ""},
		{"GET", "/root/acme/1/" + app + ".narinfo", 404, ""},
	} {
		request := httptest.NewRequest(test.method, "http://x"+test.path, nil)
		if test.method == "PUT" {
			request = httptest.NewRequest(test.method, "http://x"+test.path, strings.NewReader(string(narinfo)))
		}
		if test.method == "POST" {
			request = httptest.NewRequest(test.method, "http://x"+test.path, strings.NewReader(app+"\n"+absent))
		}
		request.Header.Set("User-Agent", "curl/8 Nix/2.34.8")
		answer := httptest.NewRecorder()
		r.Config.Handler.ServeHTTP(answer, request)
		if answer.Code != test.status {
			t.Errorf("%s %s: %d, want %d: %s", test.method, test.path, answer.Code, test.status, answer.Body)
		}
		if got := strings.Join(have.take(), ", "); got != test.noted {
			t.Errorf("%s %s: noted %q, want %q", test.method, test.path, got, test.noted)
		}
	}
}

// A run whose list cannot be written is told of nothing, and sends nothing.
func TestRunThatIsNotNoted(t *testing.T) {
	have := &noted{}
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Roots = have })
	app := treetest.Populate(t, r.tree).Named("app").Info.Path.Hash()
	for err, want := range map[error]int{fmt.Errorf("x: %w", layout.ErrTooManyRuns): 403, errors.New("the disk is on fire"): 503} {
		have.err = err
		answer, problem := http.Get(r.URL + "/upload/root/acme/1/" + app + ".narinfo")
		if problem != nil {
			t.Fatal(problem)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%v: %d, want %d", err, answer.StatusCode, want)
		}
	}
}

// The lists of runs keep the floor of free space, as other records do.
func TestRunsKeepTheFloor(t *testing.T) {
	const floor = 1 << 30
	free := uint64(floor)
	have := &noted{}
	r := newRig(t, func(c *Config, in *inbox.Config) {
		c.Roots = have
		in.FreeSpace, in.MinFree = func() (uint64, error) { return free, nil }, floor
	})
	app := treetest.Populate(t, r.tree).Named("app").Info.Path.Hash()
	ask := func(method, path, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, r.URL+"/upload/root/acme/1/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if code := ask("GET", app+".narinfo", ""); code != 200 || len(have.take()) != 1 {
		t.Errorf("at the floor: %d", code)
	}
	free = floor / 2
	for _, test := range [][3]string{{"GET", app + ".narinfo"}, {"PUT", strings.Repeat("0", 32) + ".narinfo", "x"}, {"POST", "?missing", app + "\n"}} {
		if code := ask(test[0], test[1], test[2]); code != 507 || have.take() != nil {
			t.Errorf("%s far below the floor: %d", test[0], code)
		}
	}
}

// A run needs the right to upload, even where readers and uploads share one URL.
func TestRunURLsShared(t *testing.T) {
	have := &noted{}
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Roots, c.UploadPrefix, c.Auth = have, "/", ReadOnly })
	app := treetest.Populate(t, r.tree).Named("app").Info.Path.Hash()
	var got []int
	for _, path := range []string{"/" + app + ".narinfo", "/root/acme/1/" + app + ".narinfo", "/root/nothing"} {
		answer, err := http.Get(r.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		got = append(got, answer.StatusCode)
	}
	if diff := cmp.Diff([]int{200, 403, 404}, got); diff != "" || have.take() != nil {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func FuzzCutRun(f *testing.F) {
	f.Add("root/acme/app/1/nix-cache-info")
	f.Add("root/a/1/realisations/sha256:x!out.doi")
	f.Fuzz(func(t *testing.T, name string) {
		got := target{}
		rest := got.cutRun(name)
		switch {
		case got.run == nil && rest != name:
			t.Fatalf("%q became %q without a run", name, rest)
		case got.run != nil && name != rootFolder+got.run.Root+"/"+got.run.Run+"/"+rest:
			t.Fatalf("%q is %v and %q", name, got.run, rest)
		}
	})
}
