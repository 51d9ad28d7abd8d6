package metrics

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// Count counts the tree, and sets the metrics of its size. Between two counts
// they follow the uploads alone: what other processes add or remove shows at
// the next. It costs a listing of the tree.
func (m *Metrics) Count(ctx context.Context, tree layout.Tree) error {
	var paths, nars, bytes int64
	var kinds [layout.KindPrivate]struct{ objects, bytes int64 }
	months := map[string]int64{}
	for info, err := range tree.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("count the cache: %w", err)
		}
		kind := info.Key.Kind()
		if !kind.Public() {
			continue
		}
		kinds[kind].objects++
		kinds[kind].bytes += info.Size
		switch kind {
		case layout.KindNarInfo:
			paths++
		case layout.KindNAR:
			nars++
			bytes += info.Size
			months[info.ModTime.UTC().Format("2006-01")] += info.Size
		}
	}
	for kind, count := range kinds {
		if kind := layout.Kind(kind); kind.Public() {
			m.objects.WithLabelValues(kind.String()).Set(float64(count.objects))
			m.bytes.WithLabelValues(kind.String()).Set(float64(count.bytes))
		}
	}
	m.tellMonths(months)
	m.paths.Set(float64(paths))
	m.nars.Set(float64(nars))
	m.narBytes.Set(float64(bytes))
	m.counted.SetToCurrentTime()
	return m.countHeld(ctx, tree)
}

// maxMonths is how many months have a metric of their own.
const maxMonths = 36

// tellMonths tells what came in the latest months, and of all before under "earlier".
func (m *Metrics) tellMonths(bytes map[string]int64) {
	m.months.Reset()
	for i, month := range slices.Backward(slices.Sorted(maps.Keys(bytes))) {
		name := month
		if len(bytes)-i > maxMonths {
			name = "earlier"
		}
		m.months.WithLabelValues(name).Add(float64(bytes[month]))
	}
}

// Held tells how many narinfos wait.
func (m *Metrics) Held(n int) { m.held.Set(float64(n)) }

// countHeld counts the narinfos that wait.
func (m *Metrics) countHeld(ctx context.Context, tree layout.Tree) error {
	held := 0
	for info, err := range tree.List(ctx, layout.HeldPrefix) {
		if err != nil {
			return fmt.Errorf("count what is held: %w", err)
		}
		if strings.HasSuffix(string(info.Key), ".narinfo") {
			held++
		}
	}
	m.Held(held)
	return nil
}

// countEvery is how long to wait after a count that took so long: a tree so
// large that it takes a minute is counted every few hours.
func countEvery(least, took time.Duration) time.Duration { return max(least, 200*took) }

// KeepCounting counts the tree until ctx ends, at once and then now and then,
// but not more often than once in least. A count that fails is told to failed,
// and tried again in its turn.
func (m *Metrics) KeepCounting(ctx context.Context, tree layout.Tree, least time.Duration, failed func(error)) {
	for ctx.Err() == nil {
		start := time.Now()
		if err := m.Count(ctx, tree); err != nil && ctx.Err() == nil {
			failed(err)
		}
		_ = layout.Sleep(ctx, countEvery(least, time.Since(start)))
	}
}

// Health says whether a tree can be read, and whether there is room to add to it:
// a disk that is full is nothing to those who read.
type Health struct {
	Tree      layout.Reader
	FreeSpace func() (uint64, error) // nil: not looked at
	MinFree   int64                  // bytes; with fewer there is no room
	Metrics   *Metrics               // nil: none
	Upstreams func() []Upstream      // that are fetched from; nil: none
}

// Reading returns nil, or why readers cannot be served.
func (h *Health) Reading(ctx context.Context) error {
	if _, err := layout.ReadCacheInfo(ctx, h.Tree); err != nil {
		return fmt.Errorf("the cache cannot be read: %w", err)
	}
	return nil
}

// Room returns nil, or why uploads are refused.
func (h *Health) Room() error {
	if h.FreeSpace == nil {
		return nil
	}
	free, err := h.FreeSpace()
	if err != nil {
		return fmt.Errorf("cannot tell how much room the disk has: %w", err)
	}
	if free < uint64(max(h.MinFree, 0)) {
		return fmt.Errorf("the disk has %d bytes left, fewer than the %d below which uploads are refused", free, h.MinFree)
	}
	return nil
}

// look looks at both, and tells the metrics.
func (h *Health) look(ctx context.Context) (reading, room error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	reading, room = h.Reading(ctx), h.Room()
	if h.Metrics != nil {
		yes := map[bool]float64{true: 1}
		h.Metrics.healthy.Set(yes[reading == nil])
		h.Metrics.room.Set(yes[room == nil])
		if h.Upstreams != nil {
			h.Metrics.upstreams(h.Upstreams())
		}
	}
	return reading, room
}

// Before looks each time before next answers, so that metrics are never those of
// an earlier look.
func (h *Health) Before(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.look(r.Context())
		next.ServeHTTP(w, r)
	})
}

// ServeHTTP answers whether readers can be served: 200 or 503, with one line,
// which also tells of uploads and of upstreams: what the tree has can be read without
// them.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reading, room := h.look(r.Context())
	switch {
	case reading != nil:
		answer(w, http.StatusServiceUnavailable, reading.Error())
	case room != nil:
		answer(w, http.StatusOK, "ok for readers; "+room.Error()+h.alone())
	default:
		answer(w, http.StatusOK, "ok"+h.alone())
	}
}

// alone tells which upstreams are not asked.
func (h *Health) alone() (text string) {
	if h.Upstreams == nil {
		return ""
	}
	for _, u := range h.Upstreams() {
		if u.Alone != nil {
			text += fmt.Sprintf("; %s is left alone for a while: %v", u.URL, u.Alone)
		}
	}
	return text
}

// Uploads answers whether uploads can be taken: 200 or 503, with one line.
func (h *Health) Uploads(w http.ResponseWriter, r *http.Request) {
	if err := cmp.Or(h.look(r.Context())); err != nil {
		answer(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, "ok")
}

func answer(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, line+"\n")
}
