package webdav

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A Nix sends everything in order, and all of it is there afterwards; a second
// time changes nothing.
func TestUploadByNix(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	order := []layout.Key{}
	for _, p := range paths.Paths { // references first
		text, err := os.ReadFile(filepath.Join(dir, string(layout.NarInfoKey(p.Info.Path))))
		if err != nil {
			t.Fatal(err)
		}
		record, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, layout.ListingKey(p.Info.Path), layout.Key(record.URL), layout.NarInfoKey(p.Info.Path))
	}
	for i, want := range [][]int{{201, 204}, {204, 201}} { // two paths may have one NAR
		for _, key := range order {
			if got := r.put(t, dir, key, newNix); !slices.Contains(want, got.Status) || got.Body != "" {
				t.Errorf("PUT %s, time %d: %d %s", key, i+1, got.Status, got.Body)
			}
		}
	}
	for _, key := range order {
		for _, path := range []string{"/", "/upload/"} {
			if got := r.do(t, "HEAD", path+string(key), nil, newNix); got.Status != 200 {
				t.Errorf("HEAD %s%s: %d", path, key, got.Status)
			}
		}
	}
	if got := r.do(t, "PUT", "/upload/nix-cache-info", strings.NewReader("StoreDir: /nix/store\n"), oldNix); got.Status != 204 {
		t.Errorf("PUT of a nix-cache-info: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil); !strings.Contains(got.Body, "WantMassQuery") {
		t.Errorf("the nix-cache-info of the tree was replaced: %q", got.Body)
	}
	r.whole(t)
}

// A program that copies files sends them in any order, several at a time. Until
// nothing is missing readers see none of it.
func TestUploadInAnyOrder(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	keys := keysOf(t, dir)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	app := layout.NarInfoKey(paths.Named("app").Info.Path)
	if got := r.put(t, dir, app); got.Status != 201 {
		t.Fatalf("a narinfo that comes first: %d %s", got.Status, got.Body)
	}
	for path, want := range map[string]int{"/": 404, "/upload/": 200} {
		if got := r.do(t, "GET", path+string(app), nil); got.Status != want {
			t.Errorf("GET %s of a narinfo that is held: %d, want %d", path, got.Status, want)
		}
	}
	if got := r.do(t, "GET", "/upload/"+string(app), nil, newNix); got.Status != 404 {
		t.Errorf("a Nix is told of a narinfo that is held: %d", got.Status)
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(keys, (len(keys)+3)/4) {
		wg.Go(func() {
			for _, key := range part {
				if got := r.put(t, dir, key); got.Status != 201 && got.Status != 204 {
					t.Errorf("PUT %s: %d %s", key, got.Status, got.Body)
				}
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		if got := r.do(t, "HEAD", "/"+string(key), nil); got.Status != 200 && key.Kind() != layout.KindCacheInfo {
			t.Errorf("%s is not there: %d", key, got.Status)
		}
	}
	r.whole(t)
}

// Every refusal has a status that every Nix takes for final, and one line.
func TestRefusals(t *testing.T) {
	for _, reason := range inbox.Reasons() {
		status, ok := refusals[reason]
		if !ok {
			t.Errorf("%s has no status", reason)
		}
		for _, c := range []client{{nix: true}, {nix: true, resends: true}} {
			for _, sent := range []bool{false, true} {
				f := failureOf(&inbox.Refusal{Reason: reason, Msg: "no"}).soften(c, sent)
				if f.status < 400 || f.status == 408 || f.status == 429 || f.status >= 500 || f.result != string(reason) {
					t.Errorf("%s to %+v: %d, result %q", reason, c, f.status, f.result)
				}
			}
		}
		if f := failureOf(&inbox.Refusal{Reason: reason}).soften(client{resends: true}, true); f.status != status {
			t.Errorf("%s to a WebDAV client: %d, want %d", reason, f.status, status)
		}
	}
}

// Trouble of ours is 5xx, and nothing that makes an old Nix hang.
func TestTroubleByClient(t *testing.T) {
	tests := []struct {
		err       error
		agent     string
		sent      bool
		want      int
		wantClass string
	}{
		{syscall.EIO, "", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.34.8", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.2", true, 503, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.1", true, 501, ResultStorage},
		{syscall.EIO, "curl/8.23.0 Nix/2.33.1", false, 503, ResultStorage},
		{syscall.EIO, "curl/8.14.1 Nix/2.26.3", true, 501, ResultStorage},
		{syscall.EIO, "curl/7.88.1 Nix/2.8.0", true, 501, ResultStorage},
		{syscall.EIO, "curl/7.88.1 Nix/2.3", true, 501, ResultStorage},
		{syscall.EIO, "Nix/2.36.0pre20260822_88b09c6", true, 503, ResultStorage},
		{syscall.EIO, "Nix/3.0", true, 503, ResultStorage},
		{syscall.EIO, "Nix/x", true, 501, ResultStorage},
		{syscall.EIO, "curl/8 Lix/2.93.0", true, 501, ResultStorage},
		{syscall.EIO, "FunNix/1", true, 503, ResultStorage},
		{syscall.ENOSPC, "", true, 507, ResultStorage},
		{syscall.ENOSPC, "curl/8.23.0 Nix/2.34.8", true, 507, ResultStorage},
		{syscall.ENOSPC, "curl/8.14.1 Nix/2.26.3", true, 501, ResultStorage},
		{&inbox.BodyError{Err: errStalled}, "", true, 408, ResultBroken},
		{&inbox.BodyError{Err: errStalled}, "curl/7.88.1 Nix/2.8.0", true, 400, ResultBroken},
		{&inbox.BodyError{Err: io.ErrUnexpectedEOF}, "", true, 400, ResultBroken},
		{&inbox.BodyError{Err: fmt.Errorf("x: %w", errEncoding)}, "", true, 400, ResultEncoding},
		{&AuthError{Status: 429}, "curl/8.14.1 Nix/2.26.3", true, 403, ""},
		{&AuthError{Status: 429}, "curl/8.14.1 Nix/2.26.3", false, 429, ""},
		{&AuthError{Status: 429}, "curl/8.23.0 Nix/2.34.8", true, 429, ""},
		{&AuthError{Status: 200}, "", true, 403, ""},
		{context.Canceled, "", true, 400, ResultBroken},
	}
	for _, test := range tests {
		r := &http.Request{Header: http.Header{"User-Agent": {test.agent}}}
		f := failureOf(test.err).soften(clientOf(r), test.sent)
		if f.status != test.want || f.result != test.wantClass {
			t.Errorf("%v to %q, sent %v: %d %q, want %d %q", test.err, test.agent, test.sent, f.status, f.result, test.want, test.wantClass)
		}
	}
}

// What is refused by name or size is refused before the client sends it.
func TestRefusedBeforeTheBody(t *testing.T) {
	r := newRig(t, func(_ *Config, in *inbox.Config) { in.MaxFile = 1000 })
	nar := "/upload/nar/" + strings.Repeat("0", 52) + ".nar.xz"
	for _, test := range []struct {
		head string
		want int
	}{
		{"PUT " + nar + " HTTP/1.1\r\nContent-Length: 1001", 413},
		{"PUT /upload/README HTTP/1.1\r\nContent-Length: 5", 403},
		{"PUT /upload/nar/../x HTTP/1.1\r\nContent-Length: 5", 400},
		{"PUT /upload//nix-cache-info HTTP/1.1\r\nContent-Length: 5", 400},
		{"PUT /upload/nar/ HTTP/1.1\r\nContent-Length: 5", 405},
		{"PUT /nix-cache-info HTTP/1.1\r\nContent-Length: 5", 405},
		{"PUT " + nar + " HTTP/1.1\r\nContent-Length: 5\r\nContent-Encoding: gzip", 415},
		{"PUT /upload/nix-cache-info HTTP/1.1\r\nContent-Length: 5\r\nContent-Encoding: gzip, gzip", 415},
		{"PUT /upload/nix-cache-info HTTP/1.1\r\nContent-Length: 5\r\nContent-Encoding: aws-chunked", 415},
		{"PUT " + nar + " HTTP/1.1\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/10", 400},
		{"PUT /upload/nix-cache-info HTTP/1.1\r\nContent-Length: 5\r\nIf-None-Match: *", 412},
		{"PUT /upload/nix-cache-info HTTP/1.1\r\nContent-Length: 5\r\nIf-Match: \"x\"", 412},
		{"PUT " + nar + " HTTP/1.1\r\nContent-Length: 5\r\nIf-Match: *", 412},
	} {
		for _, agent := range []string{oldNix, "User-Agent: rclone/v1.60.1"} {
			// A client that is asked for its body would see "100 Continue" first.
			status, body := raw(t, r, test.head+"\r\nHost: x\r\n"+agent+"\r\nExpect: 100-continue\r\n\r\n")
			if status != test.want || len(body) > 1000 || strings.Count(body, "\n") != 1 {
				t.Errorf("%s, %s: %d %q, want %d", test.head, agent, status, body, test.want)
			}
			// And one that sends all the same gets the same.
			status, _ = raw(t, r, test.head+"\r\nHost: x\r\n"+agent+"\r\n\r\nxxxxx"+strings.Repeat("x", 996))
			if status != test.want {
				t.Errorf("%s, with body: %d, want %d", test.head, status, test.want)
			}
		}
	}
	if keys := keysOf(t, r.dir); len(keys) != 1 {
		t.Errorf("refused uploads left %q", keys)
	}
}

// Whatever is wrong with an upload changes nothing, and is counted.
func TestRefusedUploads(t *testing.T) {
	dir, paths := example(t)
	app := paths.Named("app").Info.Path
	record, err := os.ReadFile(filepath.Join(dir, string(layout.NarInfoKey(app))))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := layout.ParseNarInfo(record, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	nar, err := os.ReadFile(filepath.Join(dir, parsed.URL))
	if err != nil {
		t.Fatal(err)
	}
	info := "/upload/" + string(layout.NarInfoKey(app))
	for name, test := range map[string]struct {
		path, body string
		want       int
		result     string
		headers    []string
	}{
		"not all of a NAR":   {"/upload/" + parsed.URL, string(nar[:len(nar)-1]), 422, "bad-compression nar", nil},
		"narinfo first":      {info, string(record), 409, "missing-nar narinfo", []string{newNix}},
		"other store":        {info, strings.ReplaceAll(string(record), "/nix/store", "/gnu/store"), 422, "wrong-store-dir narinfo", nil},
		"other name":         {"/upload/" + strings.Repeat("0", 32) + ".narinfo", string(record), 422, "wrong-name narinfo", nil},
		"no narinfo":         {info, "<html>", 422, "bad-narinfo narinfo", nil},
		"empty narinfo":      {info, "", 422, "empty narinfo", []string{newNix}},
		"leads elsewhere":    {info, strings.Replace(string(record), "URL: nar/", "URL: ../nar/", 1), 422, "bad-url narinfo", nil},
		"foreign":            {"/upload/hello.txt", "x", 403, "foreign-key foreign", nil},
		"not gzip":           {"/upload/nix-cache-info", "x", 400, ResultEncoding + " nix-cache-info", []string{"Content-Encoding: gzip"}},
		"listing is no JSON": {"/upload/" + string(layout.ListingKey(app)), "x", 422, "bad-listing ls", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			got := r.do(t, "PUT", test.path, strings.NewReader(test.body), test.headers...)
			if got.Status != test.want || r.recorded.last() != test.result || len(got.Body) > 1000 || strings.Count(got.Body, "\n") != 1 {
				t.Errorf("%d %q, recorded %q, want %d, %q", got.Status, got.Body, r.recorded.last(), test.want, test.result)
			}
			if keys := keysOf(t, r.dir); len(keys) != 1 {
				t.Errorf("it left %q", keys)
			}
		})
	}
}

// A body that ends early or stops coming is no object, and does not wait for ever.
func TestBrokenBodies(t *testing.T) {
	key, text := "log/"+strings.Repeat("0", 32)+"-x.drv", bytes.Repeat([]byte("x"), 10_000)
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.BodyStall = 200 * time.Millisecond })
	head := fmt.Sprintf("PUT /upload/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", key, len(text))
	if status, body := raw(t, r, head+string(text[:len(text)/2])); status != 408 {
		t.Errorf("a body that stops coming: %d %q", status, body)
	}
	// A byte now and then does not count as coming.
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, head)
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	}()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-ended:
		case <-tick.C:
			conn.Write(text[:1])
			continue
		}
		tick.Stop()
		break
	}
	// A client that goes away in the middle.
	conn, err = net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, head+string(text[:len(text)/2]))
	conn.Close()
	// A request that announces a body to what takes none.
	if status, _ := raw(t, r, "GET /nix-cache-info HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx"); status != 200 {
		t.Errorf("GET with a body that does not come: %d", status)
	}
	if got := r.do(t, "PUT", "/upload/"+key, bytes.NewReader(text)); got.Status != 201 {
		t.Errorf("afterwards: %d %s", got.Status, got.Body)
	}
	if n := len(keysOf(t, r.dir)); n != 2 {
		t.Errorf("%d objects, want 2", n)
	}
}

// A client that sends without waiting reads the answer to what is refused in the
// middle, however much it has left to send.
func TestRefusedInTheMiddle(t *testing.T) {
	r := newRig(t, nil)
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /upload/%s.narinfo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", strings.Repeat("0", 32))
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<20, strings.Repeat("x", 1<<20))
	sent := 0
	go func() {
		for ; sent < 200; sent++ {
			if _, err := io.WriteString(conn, chunk); err != nil {
				return
			}
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 413 || !strings.Contains(string(text), "too large") || err != nil || !resp.Close {
		t.Errorf("%d %q %v, closes %v", resp.StatusCode, text, err, resp.Close)
	}
}

// Time in which we do not read does not count against the client.
func TestSlowStorage(t *testing.T) {
	mem := treetest.NewMem(t)
	h := newHandler(Config{Tree: mem, Log: quiet, BodyStall: 50 * time.Millisecond}, fakeInbox{lister: mem, take: func(_ layout.Key, from io.Reader) (inbox.Outcome, error) {
		sum := int64(0)
		for range 4 {
			time.Sleep(100 * time.Millisecond)
			n, err := io.CopyN(io.Discard, from, 1<<20)
			if sum += n; err != nil {
				return 0, &inbox.BodyError{Err: fmt.Errorf("after %d bytes: %w", sum, err)}
			}
		}
		time.Sleep(100 * time.Millisecond)
		return inbox.Created, nil
	}})
	for _, version := range []int{1, 2} {
		s := httptest.NewUnstartedServer(h)
		s.EnableHTTP2 = version == 2
		s.StartTLS()
		t.Cleanup(s.Close)
		r := &rig{Server: s}
		if got := r.do(t, "PUT", "/upload/nix-cache-info", bytes.NewReader(make([]byte, 4<<20))); got.Status != 201 {
			t.Errorf("HTTP/%d: %d %s", version, got.Status, got.Body)
		}
	}
}

// A client that takes nothing of an answer loses its connection.
func TestStalledReader(t *testing.T) {
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.BodyStall = 100 * time.Millisecond })
	key := "log/" + strings.Repeat("0", 32) + "-x.drv"
	if err := r.tree.Put(t.Context(), layout.Key(key), layout.Bytes(make([]byte, 64<<20)), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", r.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", key)
	for r.recorded.count() == 0 { // the handler is still at it
		time.Sleep(10 * time.Millisecond)
	}
	if n, err := io.Copy(io.Discard, conn); n >= 64<<20 {
		t.Errorf("all of it came: %d bytes, %v", n, err)
	}
}

// Trouble with the storage is not the client's fault, and not absence.
func TestUploadTrouble(t *testing.T) {
	mem := treetest.NewMem(t)
	h := newHandler(Config{Tree: mem, Log: quiet}, fakeInbox{lister: mem, take: func(layout.Key, io.Reader) (inbox.Outcome, error) {
		return 0, errors.New("SECRET-PATH: input/output error")
	}})
	r := &rig{Server: newServer(t, h)}
	for agent, want := range map[string]int{oldNix: 501, newNix: 503, "User-Agent: x": 503} {
		got := r.do(t, "PUT", "/upload/nix-cache-info", strings.NewReader("x"), agent)
		if got.Status != want || strings.Contains(got.Body, "SECRET") || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q", agent, got.Status, got.Body)
		}
	}
}

// Whatever Nix can be told to compress arrives, within limits.
func TestContentEncoding(t *testing.T) {
	dir, paths := example(t)
	drv := strings.Repeat("0", 32) + "-x.drv"
	pool := compress.NewPool(1)
	defer pool.Close()
	packed := func(m compress.Method, text []byte) *bytes.Buffer {
		var b bytes.Buffer
		w, err := pool.NewWriter(t.Context(), &b, m, 0)
		if err == nil {
			_, err = w.Write(text)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		return &b
	}
	for encoding, method := range encodings {
		r := newRig(t, func(c *Config, _ *inbox.Config) { c.MaxSmall = 1 << 20 })
		listing := layout.ListingKey(paths.Named("app").Info.Path)
		text, err := os.ReadFile(filepath.Join(dir, string(listing)))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.do(t, "PUT", "/upload/"+string(listing), packed(method, text), newNix, "Content-Encoding: "+encoding); got.Status != 201 {
			t.Errorf("%s: %d %s", encoding, got.Status, got.Body)
		}
		log := bytes.Repeat([]byte("a line of a log\n"), 1<<10)
		if got := r.do(t, "PUT", "/upload/log/"+drv, packed(method, log), newNix, "Content-Encoding: "+encoding); got.Status != 201 {
			t.Errorf("%s: %d %s", encoding, got.Status, got.Body)
		}
		if got := r.do(t, "GET", "/log/"+drv, nil); got.Body != string(log) || got.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: a log of %d bytes came back with %d", encoding, len(log), len(got.Body))
		}
		if method == compress.None {
			continue
		}
		whole := packed(method, log).Bytes()
		cut := r.do(t, "PUT", "/upload/nix-cache-info", bytes.NewReader(whole[:len(whole)-3]), "Content-Encoding: "+encoding)
		if cut.Status != 400 || r.recorded.last() != ResultEncoding+" nix-cache-info" {
			t.Errorf("%s that is cut off: %d %s, %s", encoding, cut.Status, cut.Body, r.recorded.last())
		}
		bomb := packed(method, make([]byte, 2<<20))
		if got := r.do(t, "PUT", "/upload/"+string(listing), bomb, "Content-Encoding: "+encoding); got.Status != 413 || r.recorded.last() != "too-large ls" {
			t.Errorf("%s of 2 MiB: %d %s, %s", encoding, got.Status, got.Body, r.recorded.last())
		}
	}
}

// The names of logs arrive in three spellings.
func TestLogNames(t *testing.T) {
	r := newRig(t, nil)
	hash := strings.Repeat("0", 32)
	for path, keys := range map[string][]string{
		"/upload/log/" + hash + "-a+b.drv":        {hash + "-a+b.drv"},
		"/upload/log/" + hash + "-c%2Bd.drv":      {hash + "-c+d.drv"},
		"/upload/log/" + hash + "-we?ird=x+1.drv": {hash + "-we?ird=x+1.drv", hash + "-we"},
		"/upload/log/" + hash + "-is%3Fit.drv":    {hash + "-is?it.drv", hash + "-is"},
	} {
		if got := r.do(t, "PUT", path, strings.NewReader("said "+path), oldNix); got.Status != 201 {
			t.Errorf("PUT %s: %d %s", path, got.Status, got.Body)
		}
		for _, key := range keys {
			if text, err := os.ReadFile(filepath.Join(r.dir, "log", key)); err != nil || string(text) != "said "+path {
				t.Errorf("PUT %s: %s holds %q, %v", path, key, text, err)
			}
		}
		if got := r.do(t, "GET", strings.TrimPrefix(path, "/upload"), nil); got.Body != "said "+path {
			t.Errorf("GET %s: %d %q", path, got.Status, got.Body)
		}
	}
}

// A path that an upstream has counts as present to a Nix that uploads, and to
// nobody else.
func TestUpstreamAtTheUploadURL(t *testing.T) {
	_, paths := example(t)
	info := paths.Named("app").Info
	record := &layout.NarInfo{PathInfo: info, URL: "nar/x.nar", Compression: compress.None}
	has := fakeUpstream(func(hash string) (*layout.NarInfo, error) {
		switch hash {
		case info.Path.Hash():
			return record, nil
		case strings.Repeat("1", 32):
			return nil, errors.New("timeout")
		}
		return nil, fs.ErrNotExist
	})
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Upstream = has })
	key := string(layout.NarInfoKey(info.Path))
	for _, method := range []string{"GET", "HEAD"} {
		for path, want := range map[string]int{
			"/" + key: 404, "/upload/" + key: 200,
			"/upload/" + strings.Repeat("1", 32) + ".narinfo": 503, "/upload/" + strings.Repeat("2", 32) + ".narinfo": 404,
			"/upload/" + strings.Repeat("1", 32) + ".ls": 404,
		} {
			got := r.do(t, method, path, nil, oldNix)
			if got.Status != want {
				t.Errorf("%s %s: %d, want %d", method, path, got.Status, want)
			}
			if method == "GET" && want == 200 {
				if _, err := layout.ParseNarInfo([]byte(got.Body), layout.DefaultStoreDir); err != nil {
					t.Error(err)
				}
			}
		}
	}
	one := newRig(t, func(c *Config, _ *inbox.Config) { c.Upstream, c.UploadPrefix = has, "/" })
	if got := one.do(t, "GET", "/"+key, nil, oldNix); got.Status != 404 {
		t.Errorf("with one URL a reader is told of what is elsewhere: %d", got.Status)
	}
}

type fakeUpstream func(string) (*layout.NarInfo, error)

func (f fakeUpstream) Has(_ context.Context, hash string) (*layout.NarInfo, error) { return f(hash) }

// With one URL for all, uploads and readers get along.
func TestOneURL(t *testing.T) {
	dir, _ := example(t)
	for _, prefix := range []string{"/", "//", "/cache/of/ours", "push"} {
		r := newRig(t, func(c *Config, _ *inbox.Config) { c.UploadPrefix = prefix })
		at := "/" + strings.Trim(prefix, "/") + "/"
		if at == "//" {
			at = "/"
		}
		for _, key := range keysOf(t, dir) {
			text, err := os.ReadFile(filepath.Join(dir, string(key)))
			if err != nil {
				t.Fatal(err)
			}
			if got := r.do(t, "PUT", at+string(key), bytes.NewReader(text)); got.Status != 201 && got.Status != 204 {
				t.Errorf("%q: PUT %s: %d %s", prefix, key, got.Status, got.Body)
			}
			if got := r.do(t, "GET", "/"+string(key), nil); got.Status == 200 && got.Header.Get("Cache-Control") != key.Kind().CacheControl() {
				t.Errorf("%q: GET %s: %s", prefix, key, got.Header.Get("Cache-Control"))
			}
		}
		r.whole(t)
	}
}

// Who may do what is asked before anything else.
func TestAuthorization(t *testing.T) {
	var asked []string
	auth := authFunc(func(r *http.Request, need Scope) error {
		asked = append(asked, need.String())
		switch r.Header.Get("X-Who") {
		case "":
			return &AuthError{Status: 401}
		case "many":
			return &AuthError{Status: 429, RetryAfter: 1500 * time.Millisecond, Msg: "slowly"}
		case "broken":
			return errors.New("SECRET")
		}
		return nil
	})
	r := newRig(t, func(c *Config, _ *inbox.Config) { c.Auth = auth })
	shared := newRig(t, func(c *Config, _ *inbox.Config) { c.Auth, c.UploadPrefix = auth, "/" })
	for _, test := range []struct {
		r            *rig
		method, path string
		want         string
	}{
		{r, "GET", "/nix-cache-info", "read"}, {r, "HEAD", "/x", "read"}, {r, "OPTIONS", "/", "read"}, {r, "PROPFIND", "/", "read"},
		{r, "PUT", "/nix-cache-info", "read"}, {r, "GET", "/upload/nix-cache-info", "upload"}, {r, "PUT", "/upload/x", "upload"},
		{r, "PROPFIND", "/upload", "upload"}, {r, "LOCK", "/upload/x", "upload"}, {r, "DELETE", "/upload/x", "upload"},
		{shared, "GET", "/nix-cache-info", "read"}, {shared, "PROPFIND", "/", "read"}, {shared, "PUT", "/x", "upload"},
		{shared, "DELETE", "/x", "upload"}, {shared, "MKCOL", "/x", "upload"},
	} {
		asked = nil
		got := test.r.do(t, test.method, test.path, nil)
		if got.Status != 401 || !strings.HasPrefix(got.Header.Get("WWW-Authenticate"), "Basic ") || !slices.Equal(asked, []string{test.want}) {
			t.Errorf("%s %s: %d, asked for %q, want %q", test.method, test.path, got.Status, asked, test.want)
		}
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: many"); got.Status != 429 || got.Header.Get("Retry-After") != "2" || got.Body != "slowly\n" {
		t.Errorf("too many: %+v", got)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: broken"); got.Status != 503 || strings.Contains(got.Body, "SECRET") {
		t.Errorf("could not tell: %+v", got)
	}
	if got := r.do(t, "GET", "/nix-cache-info", nil, "X-Who: me"); got.Status != 200 {
		t.Errorf("allowed: %+v", got)
	}
}

type authFunc func(*http.Request, Scope) error

func (f authFunc) Authorize(r *http.Request, need Scope) error { return f(r, need) }

// Requests are counted under words of a bounded set.
func TestRecorded(t *testing.T) {
	r := newRig(t, nil)
	for _, req := range []string{"GET /nix-cache-info", "GET /x", "GET /upload/nix-cache-info", "PROPFIND /upload/", "BREW /tea", "PUT /upload/x"} {
		method, path, _ := strings.Cut(req, " ")
		r.do(t, method, path, nil, "Depth: 0")
	}
	want := []string{"GET nix-cache-info OK", "GET none Not Found", "GET upload:nix-cache-info OK", "PROPFIND dav Multi-Status",
		"other none Method Not Allowed", "PUT none Forbidden"}
	if !slices.Equal(r.recorded.requests, want) {
		t.Errorf("recorded %q, want %q", r.recorded.requests, want)
	}
}
