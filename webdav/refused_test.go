package webdav

import (
	"bytes"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// An upload that is refused by name or size is refused before the client sends it.
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

// A wrong upload of any kind changes nothing, and is counted.
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

// A client cannot fill the log with long names.
func TestLongNamesInTheLog(t *testing.T) {
	var log bytes.Buffer
	r := newSiege(t, func(c *Config, _ *inbox.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	long := strings.Repeat("x", 20_000)
	for _, path := range []string{"/upload/" + long, "/upload/nar/" + long + ".nar", "/upload/root/" + long + "/1/x.narinfo", "/" + long} {
		r.do(t, "PUT", path, strings.NewReader("x"), mallory)
		r.do(t, "GET", path, nil, mallory)
	}
	r.Close()
	if n := log.Len(); n == 0 || n > 20_000 || strings.Contains(log.String(), strings.Repeat("x", maxLogged+1)) {
		t.Errorf("%d bytes of log", n)
	}
}

// A client that fails again and again does not fill the log, and what became of another
// one is told, with how much was not.
func TestFailuresInTheLog(t *testing.T) {
	for name, test := range map[string]struct{ path, line string }{
		"requests that fail":       {"/nix-cache-info", "request failed"},
		"uploads that are refused": {"/upload/x", "upload refused"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := &treetest.Faulty{Tree: treetest.NewMem(t), Fault: treetest.Fault{Only: func(treetest.Op, layout.Key) bool { return true }, At: 1, Down: true}}
			var log bytes.Buffer
			h := newHandler(Config{Tree: tree, Auth: AllowAll, Log: slog.New(slog.NewTextHandler(&log, nil))},
				fakeInbox{check: func(layout.Key) error { return &inbox.Refusal{Reason: inbox.ForeignKey, Msg: "no"} }})
			ask := func(from string) {
				method := "GET"
				if strings.HasPrefix(test.path, "/upload") {
					method = "PUT"
				}
				r := httptest.NewRequest(method, test.path, nil)
				r.RemoteAddr = from + ":1"
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
			for range 3 * maxTold {
				ask("192.0.2.1")
			}
			lines := strings.Count(log.String(), test.line)
			if lines < maxTold || lines > 2*maxTold {
				t.Errorf("%d lines", lines)
			}
			log.Reset()
			ask("192.0.2.2")
			if !strings.Contains(log.String(), test.line) || !strings.Contains(log.String(), "untold=") {
				t.Errorf("of another client the log says %q", log.String())
			}
		})
	}
}

// A client that sends again and again what is there, or what waits, fills no log.
func TestRepetitionsInTheLog(t *testing.T) {
	for _, outcome := range []inbox.Outcome{inbox.Unchanged, inbox.Held} {
		var log bytes.Buffer
		h := newHandler(Config{Tree: treetest.NewMem(t), Auth: AllowAll, Log: slog.New(slog.NewTextHandler(&log, nil))},
			fakeInbox{take: func(layout.Key, io.Reader) (inbox.Outcome, error) { return outcome, nil }})
		send := func(from string) {
			r := httptest.NewRequest("PUT", "/upload/"+strings.Repeat("0", 32)+".narinfo", strings.NewReader("x"))
			r.RemoteAddr = from + ":1"
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
		for range 3 * maxTold {
			send("192.0.2.1")
		}
		lines := strings.Count(log.String(), "msg=upload")
		if lines < maxTold || lines > 2*maxTold {
			t.Errorf("%s: %d lines", outcome, lines)
		}
		log.Reset()
		send("192.0.2.2")
		if !strings.Contains(log.String(), "msg=upload") || !strings.Contains(log.String(), "untold=") {
			t.Errorf("%s: of another client the log says %q", outcome, log.String())
		}
	}
}
