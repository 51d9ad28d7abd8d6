package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v\n%s", w.Code, err, body)
	}
	return string(body)
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestMetrics(t *testing.T) {
	m := New("1.2.3")
	text := scrape(t, m)
	for _, word := range resultWords() {
		wantLines(t, text, `nixstatic_uploads_total{kind="narinfo",result="`+word+`"} 0`)
	}
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 25 {
				m.Request("GET", "nar", 200, 0, 1000, 3*time.Millisecond)
				m.Request("PUT", "upload:nar", 201, 500, -1, 0)
			}
		})
	}
	wait.Wait()
	m.Upload("created", layout.KindNAR, 500, time.Second)
	m.Upload("created", layout.KindNarInfo, 50, 0)
	m.Upload("unchanged", layout.KindNAR, 500, 0)
	m.Upload(string(inbox.BadNAR), layout.KindNAR, 500, 0)
	wantLines(t, scrape(t, m),
		`nixstatic_http_requests_total{class="nar",method="GET",status="200"} 100`,
		`nixstatic_http_response_body_bytes_total{class="nar"} 100000`,
		`nixstatic_http_request_body_bytes_total{class="upload:nar"} 50000`,
		`nixstatic_http_response_body_bytes_total{class="upload:nar"} 0`,
		`nixstatic_http_request_seconds_bucket{class="nar",le="0.005"} 100`,
		`nixstatic_uploads_total{kind="nar",result="created"} 1`,
		`nixstatic_uploads_total{kind="nar",result="bad-nar"} 1`,
		`nixstatic_upload_bytes_total{kind="nar"} 1500`,
		`nixstatic_upload_seconds_sum{kind="nar"} 1`,
		`nixstatic_tree_paths 1`, `nixstatic_tree_nars 1`, `nixstatic_tree_nar_bytes 500`)
	if text := scrape(t, m); !strings.Contains(text, `nixstatic_build_info{goversion="go`) || !strings.Contains(text, `version="1.2.3"`) {
		t.Errorf("no build info in\n%s", text)
	}
}

func TestCount(t *testing.T) {
	tree := treetest.OpenDir(t, t.TempDir())
	hash := strings.Repeat("0", 32)
	for key, size := range map[layout.Key]int{
		"nix-cache-info": 30, layout.Key(hash + ".narinfo"): 10, layout.Key(hash + ".ls"): 10,
		layout.Key("nar/" + strings.Repeat("0", 52) + ".nar.zst"): 1000,
		layout.Key("nar/" + strings.Repeat("1", 52) + ".nar"):     234,
		layout.Key(".nixstatic/held/" + hash + ".narinfo"):        10,
		".nixstatic/held/other":                                   10, "index.html": 10,
	} {
		if err := tree.Put(t.Context(), key, layout.Bytes(make([]byte, size)), layout.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	m := New("")
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { m.KeepCounting(ctx, tree, time.Minute, func(err error) { t.Error(err) }) })
	for !strings.Contains(scrape(t, m), "nixstatic_held_narinfos 1\n") {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wait.Wait()
	wantLines(t, scrape(t, m), "nixstatic_tree_paths 1", "nixstatic_tree_nars 2", "nixstatic_tree_nar_bytes 1234",
		`nixstatic_tree_objects{kind="nar"} 2`, `nixstatic_tree_bytes{kind="ls"} 10`, `nixstatic_tree_bytes{kind="nar"} 1234`,
		fmt.Sprintf(`nixstatic_tree_came_bytes{month="%s"} 1234`, time.Now().UTC().Format("2006-01")))
}

// Months of long ago are told together.
func TestMonths(t *testing.T) {
	months := map[string]int64{}
	for n := range 40 {
		months[time.Date(2026, time.Month(1-n), 1, 0, 0, 0, 0, time.UTC).Format("2006-01")] = 10
	}
	m := New("")
	m.tellMonths(months)
	text := scrape(t, m)
	wantLines(t, text, `nixstatic_tree_came_bytes{month="2026-01"} 10`, `nixstatic_tree_came_bytes{month="earlier"} 40`)
	if n := strings.Count(text, "nixstatic_tree_came_bytes{"); n != maxMonths+1 {
		t.Errorf("%d months", n)
	}
}

func TestHealth(t *testing.T) {
	tree := treetest.OpenDir(t, t.TempDir())
	free, freeErr := uint64(1000), error(nil)
	h := &Health{Tree: tree, FreeSpace: func() (uint64, error) { return free, freeErr }, MinFree: 1000, Metrics: New("")}
	check := func(reading, uploads int, words, healthy, room string) {
		t.Helper()
		for status, answer := range map[*int]http.HandlerFunc{&reading: h.ServeHTTP, &uploads: h.Uploads} {
			w := httptest.NewRecorder()
			answer(w, httptest.NewRequest("GET", "/healthz", nil))
			body := w.Body.String()
			if w.Code != *status || !strings.Contains(body, words) || strings.Count(body, "\n") != 1 {
				t.Errorf("status %d, %q; want %d and one line with %q", w.Code, body, *status, words)
			}
		}
		wantLines(t, scrape(t, h.Metrics), "nixstatic_healthy "+healthy, "nixstatic_room_for_uploads "+room)
	}
	check(503, 503, "nix-cache-info", "0", "1")
	if _, err := layout.Init(t.Context(), tree, layout.DefaultCacheInfo()); err != nil {
		t.Fatal(err)
	}
	check(200, 200, "ok", "1", "1")
	free = 999
	check(200, 503, "999 bytes left", "1", "0")
	freeErr = errors.New("no such mount")
	check(200, 503, "no such mount", "1", "0")
	h.FreeSpace = nil
	check(200, 200, "ok", "1", "1")
}

func BenchmarkMetrics(b *testing.B) {
	m := New("")
	b.ReportAllocs()
	for b.Loop() {
		m.Request("GET", "narinfo", 200, 0, 500, time.Millisecond)
	}
}
