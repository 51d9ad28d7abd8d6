package uses

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

const (
	path = "00000000000000000000000000000001"
	nar  = "nar/1w1fff338fvdw53sqgamddn1b2xgds473pv6y13gizdbqjv4i5p3.nar.zst"
)

// someday is when the logs of the tests are read.
func someday() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }

// told returns what a tree is told of, by day.
func told(t *testing.T, tree layout.Lister) map[string][]string {
	t.Helper()
	have := map[string][]string{}
	for d, err := range Read(t.Context(), tree, time.Time{}) {
		if err != nil {
			t.Fatal(err)
		}
		day := d.Day.Format(dayFormat)
		for _, id := range d.Paths {
			have[day] = append(have[day], id.Hash())
		}
		for _, id := range d.NARs {
			have[day] = append(have[day], string(id.Key()))
		}
	}
	return have
}

// Each format, as its maker documents it, with a narinfo and a NAR.
func TestLogFormats(t *testing.T) {
	for name, lines := range map[string]string{
		// nginx and Apache, combined, and common.
		"combined": `192.0.2.1 - - [28/Nov/2026:23:59:59 +0000] "GET /cache/` + path + `.narinfo HTTP/1.1" 200 612 "-" "curl/8.14.1 Nix/2.34.8"
192.0.2.1 - ci [29/Nov/2026:00:59:59 +0100] "GET /cache/` + nar + `?x=y HTTP/2.0" 206 612 "-" "a \"quoted\" agent"`,
		"common": `192.0.2.1 - - [28/Nov/2026:23:59:59 +0000] "GET /` + path + `.narinfo HTTP/1.1" 200 612
192.0.2.1 - - [28/Nov/2026:23:59:59 +0000] "GET /` + nar + ` HTTP/1.1" 200 612`,
		// Caddy.
		"caddy": `{"level":"info","ts":1795910399.5,"logger":"http.log.access","msg":"handled request","request":{"remote_ip":"192.0.2.1","proto":"HTTP/2.0","method":"GET","host":"cache","uri":"/` + path + `.narinfo","headers":{}},"duration":0.01,"size":612,"status":200}
{"ts":"2026-11-28T23:59:59.000Z","request":{"method":"GET","uri":"/` + nar + `"},"status":200}`,
		// nginx with log_format escape=json, and Apache likewise.
		"json": `{"time_iso8601":"2026-11-28T23:59:59+00:00","request":"GET /` + path + `.narinfo HTTP/1.1","status":"200"}
{"time":"[28/Nov/2026:23:59:59 +0000]","request_method":"GET","request_uri":"/` + nar + `","status":304}`,
		// https://docs.aws.amazon.com/AmazonS3/latest/userguide/LogFormat.html
		"s3": `79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be amzn-s3-demo-bucket1 [28/Nov/2026:00:00:38 +0000] 192.0.2.3 79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be 3E57427F3EXAMPLE REST.GET.OBJECT ` + path + `.narinfo "GET /amzn-s3-demo-bucket1/` + path + `.narinfo HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" - s9lzHYrFp76ZVxRcpX9+5cjAnEH2ROuNkd2BHfIa6UkFVdtjf5mKR3/eTPFvsiP/XV/VLi31234= SigV4 ECDHE-RSA-AES128-GCM-SHA256 AuthHeader amzn-s3-demo-bucket1.s3.us-west-1.amazonaws.com TLSV1.2 - -
79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be amzn-s3-demo-bucket1 [28/Nov/2026:00:00:38 +0000] 192.0.2.3 - 3E57427F3EXAMPLE REST.GET.OBJECT prefix/` + nar + ` "GET /prefix/` + nar + `?X-Amz-Date=x HTTP/1.1" 200 - 113 - 7 - "-" "-" -`,
		// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/standard-logs-reference.html
		"cloudfront": "#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer)\n" +
			"2026-11-28\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111111abcdef8.cloudfront.net\t/" + path + ".narinfo\t200\t-\n" +
			"2026-11-28\t21:02:31\tLAX1\t392\t192.0.2.100\tGET\td111111abcdef8.cloudfront.net\t/" + nar + "\t200\t-",
		// The same as JSON.
		"cloudfront json": `{"date":"2026-11-28","time":"21:02:31","cs-method":"GET","cs-uri-stem":"/` + path + `.narinfo","sc-status":"200"}
{"date":"2026-11-28","time":"21:02:31","cs-method":"GET","cs-uri-stem":"/` + nar + `","sc-status":"200"}`,
		// The name of a user is what the client wants.
		"a user": `192.0.2.1 - [01/Jan/2026:00:00:00 +0000] [28/Nov/2026:23:59:59 +0000] "GET /` + path + `.narinfo HTTP/1.1" 200 612
192.0.2.1 - [ [28/Nov/2026:23:59:59 +0000] "GET /` + nar + ` HTTP/1.1" 200 612 "[01/Jan/2026:00:00:00 +0000]" "[01/Jan/2026:00:00:00 +0000] " "GET /x" 200`,
	} {
		tree := treetest.NewMem(t)
		log := Log{now: someday}
		if err := log.Add(strings.NewReader(lines)); err != nil {
			t.Fatal(err)
		}
		if err := log.Write(t.Context(), tree); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string][]string{"2026-11-28": {path, nar}}, told(t, tree)); diff != "" || log.Strange.Load() != 0 {
			t.Errorf("%s, %d lines not understood (-want +got):\n%s", name, log.Strange.Load(), diff)
		}
		// Once more, compressed: nothing changes.
		before := len(tree.Keys())
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		w.Write([]byte(lines))
		w.Close()
		again := Log{now: someday}
		if err := again.Add(&z); err != nil {
			t.Fatal(err)
		}
		if err := again.Write(t.Context(), tree); err != nil || len(tree.Keys()) != before {
			t.Errorf("%s: an import once more: %v, %v", name, err, tree.Keys())
		}
	}
}

// Requests that do not read a path count for nothing, and strange lines are passed
// over.
func TestLogIsNoUse(t *testing.T) {
	const form = `192.0.2.1 - - [28/Nov/2026:23:59:59 +0000] "%s HTTP/1.1" %d 612` + "\n"
	var text strings.Builder
	for request, status := range map[string]int{
		"HEAD /" + path + ".narinfo": 200, "GET /" + path + ".narinfo ": 404, "PUT /" + path + ".narinfo": 201,
		"GET /upload/" + path + ".narinfo": 200, "GET /nix-cache-info": 200, "GET /" + path + ".ls": 200,
		"GET /nar/x.nar": 200, "GET /%zz/" + path + ".narinfo": 200, "GET /../" + path[:31] + "u.narinfo": 200,
	} {
		fmt.Fprintf(&text, form, request, status)
	}
	// A quotation mark in a request, as servers escape it, does not end the request.
	for _, quote := range []string{`\"`, `\x22`} {
		fmt.Fprintf(&text, form, "GET /"+path+".narinfo?"+quote+" 200 ", 404)
	}
	text.WriteString("rubbish\n" + strings.Repeat("x", 2*maxLine) + "\n{\"status\":200}\n\n")
	log := Log{now: someday}
	if err := log.Add(strings.NewReader(text.String())); err != nil {
		t.Fatal(err)
	}
	if log.Reads.Load() != 0 || log.Strange.Load() < 3 {
		t.Errorf("%d reads, %d strange lines", log.Reads.Load(), log.Strange.Load())
	}
}

func TestRecorder(t *testing.T) {
	tree := treetest.NewMem(t)
	clock := time.Date(2026, 11, 28, 23, 0, 0, 0, time.UTC)
	open := func() *Recorder {
		r := NewRecorder(tree, "host")
		r.now = func() time.Time { return clock }
		return r
	}
	write := func(r *Recorder) {
		t.Helper()
		if err := r.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r := open()
	for range 3 {
		r.Read(layout.NarInfoKeyOf(path))
		r.Read(nar)
		r.Read("nix-cache-info")
		r.Read(layout.ListingKeyOf(path))
	}
	write(r)
	puts := tree.Counts().Put // since the last look
	r.Read(nar)
	write(r)
	if n := tree.Counts().Put; puts != 1 || n != 0 || len(told(t, tree)) != 1 {
		t.Errorf("%d puts, then %d", puts, n)
	}
	clock = clock.Add(2 * time.Hour)
	r.Read(nar) // is lost: the day is not written yet
	write(r)
	r.Read(nar)
	write(r)
	other := open()
	other.Read(layout.NarInfoKeyOf(path))
	write(other)
	want := map[string][]string{"2026-11-28": {path, nar}, "2026-11-29": {path, nar}}
	have := told(t, tree)
	for day := range have {
		if have[day][0] != path {
			have[day][0], have[day][1] = have[day][1], have[day][0]
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	old, err := Before(t.Context(), tree, time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC))
	if err != nil || len(old) != 1 {
		t.Errorf("before the 29th: %v, %v", old, err)
	}
}

// A store that takes its time over what is written down makes no reader wait, and what
// is read meanwhile is written the next time.
func TestRecorderWhileItWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tree := &slowTree{treetest.NewMem(t), make(chan struct{})}
		r := NewRecorder(tree, "host")
		r.Read(nar)
		written := make(chan error)
		go func() { written <- r.Write(t.Context()) }()
		synctest.Wait()
		noted := make(chan bool)
		go func() {
			r.Read(layout.NarInfoKeyOf(path))
			noted <- r.Known(nar)
		}()
		synctest.Wait()
		select {
		case known := <-noted:
			if !known {
				t.Error("what is being written is not known")
			}
		default:
			t.Error("a reader waits for the store")
		}
		close(tree.open)
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		if err := r.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, entries := range told(t, tree) {
			if len(entries) != 2 {
				t.Errorf("the tree has %v", entries)
			}
		}
	})
}

// A slowTree puts nothing before it is open.
type slowTree struct {
	layout.Tree
	open chan struct{}
}

func (s *slowTree) Put(ctx context.Context, key layout.Key, body layout.Body, o layout.PutOptions) error {
	<-s.open
	return s.Tree.Put(ctx, key, body, o)
}

// A line of the future would count for ever, and one of long ago does not count: they
// are passed over, and told. A server whose time has no zone may be ahead by some hours.
func TestLogOfOtherTimes(t *testing.T) {
	log := Log{now: someday}
	for _, at := range []string{"01/Jan/2099:00:00:00 +0000", "31/Dec/9999:23:59:59 -1200", "02/Dec/2026:00:00:00 +0000", "01/Jan/0001:00:00:00 +0000", "26/Oct/2025:11:00:00 +0000", // not
		"01/Dec/2026:02:00:00 +0000", "26/Oct/2025:13:00:00 +0000", "01/Dec/2026:13:00:00 +0200"} {
		if err := log.Add(strings.NewReader("192.0.2.1 - - [" + at + "] \"GET /" + path + ".narinfo HTTP/1.1\" 200 612\n")); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{`{"ts":9e10,"request":{"method":"GET","uri":"/` + path + `.narinfo"},"status":200}`, `{"ts":1,"request":{"method":"GET","uri":"/` + path + `.narinfo"},"status":200}`} {
		if err := log.Add(strings.NewReader(line)); err != nil {
			t.Fatal(err)
		}
	}
	if log.Reads.Load() != 3 || log.Undated.Load() != 7 || log.Strange.Load() != 0 {
		t.Errorf("%d reads, %d of other times, %d strange", log.Reads.Load(), log.Undated.Load(), log.Strange.Load())
	}
	tree := treetest.NewMem(t)
	if err := log.Write(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"2026-12-01": {path}, "2025-10-26": {path}}, told(t, tree)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A log does not keep its lines in memory.
func TestLogForgetsItsLines(t *testing.T) {
	log := Log{now: someday}
	const lines = 100
	r, w := io.Pipe()
	go func() {
		for n := range lines {
			fmt.Fprintf(w, "192.0.2.1 - - [28/Nov/2026:23:59:59 +0000] \"GET /%032d.narinfo?%s HTTP/1.1\" 200 612\n", n, strings.Repeat("x", maxLine/2))
		}
		w.Close()
	}()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := log.Add(r); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > lines*maxLine/8 || log.Reads.Load() != lines {
		t.Errorf("%d reads are remembered in %d bytes", log.Reads.Load(), grown)
	}
	runtime.KeepAlive(&log)
}

func FuzzObject(f *testing.F) {
	text, err := encode(head{1, "2026-11-28", "x"}, []string{path, nar})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := parse(text); err == nil && len(d.Paths)+len(d.NARs) > len(text)/32 {
			t.Fatalf("%q has %d entries", text, len(d.Paths)+len(d.NARs))
		}
	})
}

func FuzzLog(f *testing.F) {
	f.Add(`1 - - [28/Nov/2026:23:59:59 +0000] "GET /` + path + `.narinfo HTTP/1.1" 200 612`)
	f.Add(`{"ts":1,"request":{"method":"GET","uri":"/` + path + `.narinfo"},"status":200}`)
	f.Add("#Fields: date time cs-method cs-uri-stem sc-status\n2026-11-28\t21:02:31\tGET\t/" + path + ".narinfo\t200")
	f.Add("\x1f\x8b\x08")
	f.Fuzz(func(t *testing.T, text string) {
		var log Log
		if log.Add(strings.NewReader(text)) != nil {
			return
		}
		for _, set := range log.days {
			for entry := range set {
				if !strings.HasPrefix(entry, "nar/") && layout.NarInfoKeyOf(entry).PathHash() != entry {
					t.Fatalf("%q tells of %q", text, entry)
				}
			}
		}
	})
}
