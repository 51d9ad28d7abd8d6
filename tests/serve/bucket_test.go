package serve_test

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A store is a real MinIO, and what stands before it: it counts, and may be out
// of order.
type store struct {
	minio.Server
	front *httptest.Server

	Down atomic.Bool  // every request is answered 500
	Deaf atomic.Bool  // conditions are refused
	nars atomic.Int64 // that clients asked for

	mu    sync.Mutex
	asked map[string]int // by servers: methods, "LIST" for a listing
}

// startStore starts one until the test ends. The programs of the tests find its
// credentials in their environment.
func startStore(t testing.TB) *store {
	t.Helper()
	s := &store{Server: minio.Start(t, 1), asked: map[string]int{}}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.SecretKey,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull} {
		t.Setenv(name, value)
	}
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The host is signed: the store is told the one that the client meant.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.Down.Load():
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		case s.Deaf.Load() && r.Header.Get("If-Match")+r.Header.Get("If-None-Match") != "":
			http.Error(w, "no conditions here", http.StatusNotImplemented)
			return
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/nar/") && !strings.Contains(r.UserAgent(), "MinIO"):
			s.nars.Add(1) // by a client, not by a server of ours
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

// cost returns what the store was asked for since the last call, but for
// listings, which servers make by the clock.
func (s *store) cost() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []string
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		if n := s.asked[method]; n > 0 {
			parts = append(parts, fmt.Sprint(n, " ", method))
		}
	}
	clear(s.asked)
	return strings.Join(parts, ", ")
}

// bucket names a bucket that is not there yet.
func (s *store) bucket() string {
	return "s3://serve-" + strings.ToLower(rand.Text()) + "/the/cache?endpoint=" + s.front.URL
}

// web is where a public bucket is read.
func (s *store) web(bucket string) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(bucket, "s3://"), "?")
	return s.front.URL + "/" + path
}

// startOn runs a serve on a bucket, with the key and the tokens of another if
// one is given.
func startOn(t testing.TB, bucket string, like *server, args ...string) *server {
	t.Helper()
	p := newest(t)
	s := &server{Tree: bucket}
	if like != nil {
		s.Key, s.Tokens, s.Token = like.Key, like.Tokens, like.Token
	} else {
		s.Key, s.Tokens = p.NewKey(t, "serve.example.org-1"), filepath.Join(t.TempDir(), "tokens")
		s.Token = s.newToken(t, "ci", "upload")
	}
	s.run(t, "127.0.0.1:0", args...)
	return s
}

// A bucket is served as a directory is: every Nix pushes into it, and takes all
// of it back from the server, and from the bucket itself where that is public.
func TestBucket(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	r := newest(t).Run(t, "serve", bucket).Want(t, 1)
	if !strings.Contains(r.Stderr, "nixstatic: hint: nixstatic init '"+bucket+"' makes it") {
		t.Errorf("serve of a bucket that there is not:\n%s", r.Stderr)
	}
	newest(t).Output(t, "init", "--public", bucket)
	s := startOn(t, bucket, nil)
	for i, nix := range peers.Nixes(t) {
		roots := somePaths(t)[:2+i]
		push(t, fresh(t, nix), s.upload("compression="+[]string{"none", "zstd", "xz"}[i]+"&write-nar-listing=true"), roots...)
		pull(t, fresh(t, nix), s.URL, s.Key.Public, roots...)
		pull(t, fresh(t, nix), store.web(bucket), s.Key.Public, roots...)
	}
	push(t, fresh(t, peers.Old(t)), s.upload(), somePaths(t)...)
	pull(t, fresh(t, peers.Newest(t)), bucket+"&region=us-east-1", s.Key.Public, somePaths(t)...)
	verify(t, bucket, s.Key.Public)

	_, text := get(t, s.URL+"/"+hashPart(somePaths(t)[0])+".narinfo")
	nar := lines(text, "URL")[0]
	response, whole := do(t, http.DefaultTransport, "GET", s.URL+"/"+nar, nil)
	etag := response.Header.Get("ETag")
	if response.StatusCode != 200 || response.ContentLength != int64(len(whole)) || etag == "" ||
		response.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
		t.Errorf("a NAR: %s %v", response.Status, response.Header)
	}
	for _, c := range []struct {
		name, value string
		status      int
		want        string
	}{
		{"Range", "bytes=100-199", 206, whole[100:200]}, {"Range", "bytes=-5", 206, whole[len(whole)-5:]},
		{"If-None-Match", etag, 304, ""}, {"If-None-Match", `"other"`, 200, whole},
	} {
		if status, body := get(t, s.URL+"/"+nar, c.name, c.value); status != c.status || body != c.want {
			t.Errorf("%s: %s: status %d, %d bytes", c.name, c.value, status, len(body))
		}
	}
	if response, _ := do(t, http.DefaultTransport, "HEAD", s.URL+"/"+nar, nil); response.StatusCode != 200 || response.ContentLength != int64(len(whole)) {
		t.Errorf("HEAD of a NAR: %s, %d bytes", response.Status, response.ContentLength)
	}
	if status, _ := get(t, s.URL+"/"+strings.Repeat("0", 32)+".narinfo"); status != 404 {
		t.Errorf("an absent narinfo: status %d", status)
	}
	if status, body := get(t, s.Metrics+"/healthz"); status != 200 || body != "ok\n" {
		t.Errorf("health: %d %s", status, body)
	}
	until(t, "the bucket is counted", func() bool { return s.metric(t, "nixstatic_tree_paths")[0] == "nixstatic_tree_paths 6" })

	// "Absent" and "could not tell" are different answers.
	store.Down.Store(true)
	for _, path := range []string{"/" + strings.Repeat("0", 32) + ".narinfo", "/" + nar} {
		response, _ := do(t, http.DefaultTransport, "GET", s.URL+path, nil)
		if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s while the store is out of order: %s", path, response.Status)
		}
	}
	if status, _ := get(t, s.Metrics+"/healthz"); status != 503 {
		t.Errorf("health while the store is out of order: %d", status)
	}
	store.Down.Store(false)
	if status, _ := get(t, s.URL+"/"+nar); status != 200 {
		t.Errorf("when the store is back: %d", status)
	}
	s.allowErrors(t, "request failed")
}

// What each request of a client costs at the store: docs/serving-buckets.md does
// the arithmetic.
func TestBucketCosts(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	s := startOn(t, bucket, nil)
	until(t, "the bucket is counted", func() bool {
		return s.metric(t, "nixstatic_tree_counted_timestamp_seconds")[0] != "nixstatic_tree_counted_timestamp_seconds 0"
	})
	tree := exportedTree(t, s.Key)
	narinfo := hashPart(named(t, "flat")[0]) + ".narinfo"
	record := readFile(t, tree, narinfo)
	nar := lines(record, "URL")[0]
	store.cost()
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", narinfo, "", "1 GET"}, // 404
		{"GET", "upload/" + narinfo, "", "1 GET"},
		{"HEAD", "upload/" + nar, "", "1 HEAD"},
		{"PUT", "upload/" + nar, readFile(t, tree, nar), "2 HEAD, 1 PUT"},
		{"PUT", "upload/" + narinfo, record, "1 GET, 1 HEAD, 2 PUT"},
		{"GET", narinfo, "", "1 GET"},
		{"GET", narinfo, "", "1 HEAD"}, // remembered, if it is still the same
		{"HEAD", nar, "", "1 HEAD"},
		{"GET", nar, "", "1 GET"},
	} {
		response, body := do(t, http.DefaultTransport, c.method, s.URL+"/"+c.path, strings.NewReader(c.body),
			"Authorization", "Bearer "+s.Token, "User-Agent", "curl/8.14.1 Nix/2.26.3")
		if got := store.cost(); got != c.want {
			t.Errorf("%s %s (%s %s): %s, want %s", c.method, c.path, response.Status, body[:min(len(body), 30)], got, c.want)
		}
	}
	get(t, s.Metrics+"/healthz")
	if got := store.cost(); got != "1 GET" {
		t.Errorf("a look at the health: %s", got)
	}
}

// Several servers, on one bucket and with nothing else in common but their key,
// take uploads of closures that overlap. One of them is killed meanwhile. All
// that the clients sent again and again until it worked is there in the end,
// whole, from whichever server, and from the bucket itself.
func TestBucketTogether(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", "--public", bucket)
	first := startOn(t, bucket, nil)
	servers := []*server{first, startOn(t, bucket, first), startOn(t, bucket, first)}
	nixes := peers.Nixes(t)
	roots := named(t, overlapping[0], overlapping[1], overlapping[6], "flat")
	var clients sync.WaitGroup
	for i, s := range servers {
		nix := fresh(t, nixes[i])
		url := s.upload("compression=" + []string{"none", "zstd", "none"}[i])
		commands := []string{roots[i], roots[(i+1)%3], roots[3]}
		clients.Go(func() {
			var out []byte
			for range 20 { // as people and CI do
				var err error
				if out, err = nix.Command(t, "nix", copyArgs(t, url, commands...)...).CombinedOutput(); err == nil {
					return
				}
			}
			t.Errorf("Nix %s gives up: %s", nix.Version, out)
		})
	}
	victim := servers[1]
	address := victim.address(t)
	until(t, "the victim has taken something", func() bool {
		return strings.Contains(victim.log.String(), "outcome=")
	})
	victim.kill(t)
	victim.run(t, address)
	clients.Wait()
	verify(t, bucket, first.Key.Public)
	for i, s := range servers {
		pull(t, fresh(t, nixes[i]), s.URL, first.Key.Public, roots...)
	}
	pull(t, fresh(t, peers.Newest(t)), store.web(bucket), first.Key.Public, roots...)
}

// A path that two servers take at the same time, from clients that have signed
// it with keys of their own, has the signatures of all.
func TestBucketSignatures(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	first := startOn(t, bucket, nil)
	servers := []*server{first, startOn(t, bucket, first)}
	var keys []nixtest.Key
	var trees []string
	for _, name := range []string{"alice-1", "bob-1", "carol-1", "dan-1"} {
		key := newest(t).NewKey(t, name)
		keys, trees = append(keys, key), append(trees, exportedTree(t, key))
	}
	nars, err := os.ReadDir(filepath.Join(trees[0], "nar"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(s *server, name, text string) int {
		response, _ := do(t, http.DefaultTransport, "PUT", s.URL+"/upload/"+name, strings.NewReader(text), "Authorization", "Bearer "+s.Token)
		return response.StatusCode
	}
	// Of one path, the narinfo comes first and is held by one server; the NAR comes
	// to another, and a third settles it.
	early := named(t, "flat")[0]
	record := readFile(t, trees[0], hashPart(early)+".narinfo")
	if status := put(servers[0], hashPart(early)+".narinfo", record); status != 201 {
		t.Errorf("a narinfo that comes early: status %d", status)
	}
	for i, nar := range nars {
		if status := put(servers[1-i%2], "nar/"+nar.Name(), readFile(t, trees[0], "nar", nar.Name())); status != 201 && status != 204 {
			t.Errorf("%s: status %d", nar.Name(), status)
		}
	}
	third := startOn(t, bucket, first)
	if status, _ := get(t, third.URL+"/"+hashPart(early)+".narinfo"); status != 200 {
		t.Errorf("what one server held, and another completed, is not settled by a third: status %d", status)
	}
	var clients sync.WaitGroup
	for i, tree := range trees {
		for j, s := range servers {
			clients.Go(func() {
				for n := range narinfos(t, tree) {
					// References first, as far as that matters: until they are there, it is held.
					name := narinfos(t, tree)[(n+i+j)%len(narinfos(t, tree))]
					if status := put(s, name, readFile(t, tree, name)); status != 201 && status != 204 {
						t.Errorf("%s: status %d", name, status)
					}
				}
			})
		}
	}
	clients.Wait()
	startOn(t, bucket, first) // looks once more at what is held
	for _, key := range append(keys, first.Key) {
		verify(t, bucket, key.Public)
	}
	var held struct{ Problems []any }
	if err := json.Unmarshal([]byte(newest(t).Output(t, "verify", "--json", bucket)), &held); err != nil || len(held.Problems) > 0 {
		t.Errorf("verify: %v, %v", held, err)
	}
}

// What cannot work is said at the start, with what to do.
func TestBucketRefused(t *testing.T) {
	store := startStore(t)
	bucket := store.bucket()
	newest(t).Output(t, "init", bucket)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--min-free", "1GiB"}, 2, "--min-free is about the disk that a directory is on"},
		{[]string{"--redirect", "somewhere"}, 2, "want presigned, or the URL"},
		{[]string{"--redirect", "https://user@cdn.example.org"}, 2, "want presigned, or the URL"},
		{[]string{"--redirect", "presigned", "--upload-prefix", "/"}, 2, "exclude each other"},
		{[]string{"--redirect", "https://cdn.example.org", "--private", "--tokens", filepath.Join(t.TempDir(), "tokens")}, 2, "choose presigned"},
	} {
		args := append([]string{"serve", "--listen", "127.0.0.1:0", bucket}, c.args...)
		if r := newest(t).Run(t, args...).Want(t, c.code); !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%v:\n%s", c.args, r.Stderr)
		}
	}
	r := newest(t).Run(t, "serve", "--redirect", "presigned", t.TempDir()).Want(t, 2)
	if !strings.Contains(r.Stderr, "needs a tree in a bucket") {
		t.Errorf("--redirect of a directory:\n%s", r.Stderr)
	}
	cmd := newest(t).Command(t, "serve", "--listen", "127.0.0.1:0", bucket)
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(t.TempDir(), "none"))
	if r := nixtest.Wait(t, cmd).Want(t, 1); !strings.Contains(r.Stderr, "hint: uploads are checked in a folder for temporary files") {
		t.Errorf("without a folder for uploads:\n%s", r.Stderr)
	}
	cmd = newest(t).Command(t, "serve", "--listen", "127.0.0.1:0", bucket)
	cmd.Env = append(cmd.Env, "AWS_SECRET_ACCESS_KEY=wrong-but-long-enough")
	if r := nixtest.Wait(t, cmd).Want(t, 1); !strings.Contains(r.Stderr, "hint: ") || strings.Contains(r.Stderr, "who owns the file") {
		t.Errorf("with a wrong secret:\n%s", r.Stderr)
	}
}

// To a store that keeps to no conditions one process may write, and whoever
// starts a server has to say that there is no other.
func TestBucketWithoutConditions(t *testing.T) {
	store := startStore(t)
	store.Deaf.Store(true)
	bucket := store.bucket()
	r := newest(t).Run(t, "init", "--public", bucket).Want(t, 0)
	if !strings.Contains(r.Stderr, "nothing else may write to this tree") || !strings.Contains(r.Stderr, "one-writer=true") {
		t.Errorf("init:\n%s", r.Stderr)
	}
	path := named(t, "flat")[0]
	export := []string{"export", "--quiet", "--store", peers.Closure(t).Root, "--to"}
	r = newest(t).Run(t, append(export, bucket, path)...).Want(t, 0)
	if !strings.Contains(r.Stderr, "warning: the store keeps to no conditions") {
		t.Errorf("export:\n%s", r.Stderr)
	}
	r = newest(t).Run(t, append(export, bucket, path)...).Want(t, 0)
	if r.Stderr != "" {
		t.Errorf("export that has nothing to do:\n%s", r.Stderr)
	}
	r = newest(t).Run(t, "serve", bucket).Want(t, 1)
	if want := "'" + bucket + "&one-writer=true'"; !strings.Contains(r.Stderr, "hint: if this server is the only one") || !strings.Contains(r.Stderr, want) {
		t.Errorf("serve:\n%s", r.Stderr)
	}
	// Whoever writes nothing need not care.
	reader := &server{}
	reader.runAs(t, "serve", bucket, "--read-only", "--listen", "127.0.0.1:0")
	if status, _ := get(t, reader.URL+"/nix-cache-info"); status != 200 {
		t.Errorf("read-only: status %d", status)
	}
	s := startOn(t, bucket+"&one-writer=true", nil)
	if !strings.Contains(s.log.String(), "nothing else may write to this tree") {
		t.Errorf("no warning:\n%s", s.log)
	}
	for _, nix := range peers.Nixes(t) {
		push(t, fresh(t, nix), s.upload("compression=none"), somePaths(t)...)
	}
	r = newest(t).Run(t, "sign", bucket, "-k", s.Key.File).Want(t, 0)
	pull(t, fresh(t, peers.Newest(t)), s.URL, s.Key.Public, append(somePaths(t), path)...)
	verify(t, bucket, s.Key.Public)
}
