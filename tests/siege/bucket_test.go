//go:build real

package siege_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A store is a real MinIO behind a line that counts, and may be cut.
type store struct {
	front *httptest.Server
	cut   atomic.Bool

	mu    sync.Mutex
	asked map[string]int // methods, "LIST" for a listing
}

func startStore(t *testing.T) *store {
	t.Helper()
	at, s := minio.Start(t, 1), &store{asked: map[string]int{}}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": at.AccessKey, "AWS_SECRET_ACCESS_KEY": at.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	target, err := url.Parse(at.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.cut.Load() {
			panic(http.ErrAbortHandler)
		}
		what := r.Method
		if r.URL.Query().Has("list-type") {
			what = "LIST"
		}
		s.mu.Lock()
		s.asked[what]++
		s.mu.Unlock()
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.front.Close)
	return s
}

// cost returns how much the store was asked for since the last call.
func (s *store) cost() (sum int, asked map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked, s.asked = s.asked, map[string]int{}
	for _, n := range asked {
		sum += n
	}
	return sum, asked
}

// billing are attacks that may cost an operator money, or each server its patience
// with a store that is away.
var billing = map[string]attack{
	"held narinfos":                          attacks["held narinfos"],
	"early listings":                         attacks["early listings"],
	"realisations":                           attacks["realisations"],
	"debug links and logs of others":         attacks["debug links and logs of others"],
	"LOCK":                                   attacks["LOCK"],
	"PROPFIND of folders that are not there": attacks["PROPFIND of folders that are not there"],
	"PROPFIND of names that are long":        attacks["PROPFIND of names that are long"],
	"NARs that trickle in":                   attacks["NARs that trickle in"],
	"ranges": {stranger: true, do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "GET", "/nix-cache-info", nil, "Range: bytes=0-0"+strings.Repeat(",2-2", 5000))
	}},
	"paths that nobody has": {stranger: true, do: func(ctx context.Context, a *attacker) {
		a.send(ctx, "GET", "/"+hash()+".narinfo", nil)
	}},
}

// mostAsked is how many requests to the store a request of a client may cost in the
// middle. A narinfo that waits costs most: its first references are looked for twice,
// as they may come in between.
const mostAsked = 8

// A request of an attacker costs few requests to the store, and what it leaves
// behind costs hardly any. While the store is away readers are told so, and not that
// what they ask for is absent (I5); when it is back all is as before.
func TestBucketUnderSiege(t *testing.T) {
	behind := startStore(t)
	tree := "s3://siege-" + strings.ToLower(rand.Text()) + "/cache?endpoint=" + behind.front.URL
	p := nixtest.Program{Nix: peers.Newest(t)}
	p.Run(t, "init", tree).Want(t, 0)
	s := start(t, tree)
	client := reader()
	path, _, err := s.push(t, peers.Newest(t), "alice")
	if err != nil {
		t.Fatal(err)
	}
	behind.cost()
	sent := 0
	end := s.besiege(t, "", billing)
	ctx, stop := context.WithTimeout(t.Context(), lasts(t, 5*time.Second))
	defer stop()
	siege := s.pushes(t, ctx, 1)
	for _, all := range siege {
		sent += 40 * len(all) // what a Nix asks for a path, with room
	}
	for _, n := range s.besieged {
		sent += n.count()
	}
	sum, asked := behind.cost()
	t.Logf("%d requests of clients cost %d of the store: %v", sent, sum, asked)
	if sum > mostAsked*sent {
		t.Errorf("%d requests of clients cost %d of the store: %v", sent, sum, asked)
	}

	behind.cut.Store(true)
	away := min(lasts(t, 5*time.Second), time.Minute)
	for until := time.Now().Add(away); time.Now().Before(until); time.Sleep(time.Second) {
		for _, name := range []string{"/nix-cache-info", "/" + narInfoOf(path)} {
			resp, err := client.Get(s.url + name)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode < 500 && resp.StatusCode != 200 {
				t.Errorf("GET %s while the store is away: %s", name, resp.Status)
			}
		}
	}
	behind.cut.Store(false)
	if _, _, err := s.push(t, peers.Newest(t), "bob"); err != nil {
		t.Errorf("a push when the store is back: %v", err)
	}
	if err := s.read(client, path); err != nil {
		t.Errorf("a reader when the store is back: %v", err)
	}
	end()
	time.Sleep(2 * time.Second) // what is under way
	behind.cost()
	quiet := 5 * time.Second
	time.Sleep(quiet)
	if sum, asked := behind.cost(); sum > 300 {
		t.Errorf("with no client at all the store was asked %d times in %s: %v", sum, quiet, asked)
	} else {
		t.Logf("with no client at all the store was asked %d times in %s: %v", sum, quiet, asked)
	}
	s.ends(t)
}

func narInfoOf(store string) string {
	_, name, _ := strings.Cut(strings.TrimPrefix(store, "/"), "store/")
	return name[:32] + ".narinfo"
}
