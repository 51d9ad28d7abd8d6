package metrics

import (
	"maps"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/webdav"
)

// Metrics is a Recorder that Prometheus can read. Its labels are words of ours alone,
// never anything of a client's, but for the names of MaxRoots roots: the number of
// series is bounded.
type Metrics struct {
	registry *prometheus.Registry

	requests         *prometheus.CounterVec
	bytesIn          *prometheus.CounterVec
	bytesOut         *prometheus.CounterVec
	requestSeconds   *prometheus.HistogramVec
	uploads          *prometheus.CounterVec
	uploadBytes      *prometheus.CounterVec
	uploadSeconds    *prometheus.HistogramVec
	paths, nars      prometheus.Gauge
	narBytes, held   prometheus.Gauge
	counted, healthy prometheus.Gauge
	room             prometheus.Gauge
	live, forUndo    prometheus.Gauge
	maxSize          prometheus.Gauge
	only             *prometheus.GaugeVec
	rootPaths        *prometheus.GaugeVec
	rootBytes        *prometheus.GaugeVec
	rootOnly         *prometheus.GaugeVec
	objects, bytes   *prometheus.GaugeVec // by kind
	months           *prometheus.GaugeVec
	pulled           pulled

	reads, sent, received atomic.Int64 // for Served

	// series are those of requests so far, in a map that is never changed: no look-up by
	// three strings, and no allocation, in each request.
	series atomic.Pointer[map[requestLabels]*requestSeries]
	adding sync.Mutex // of series
	latest atomic.Pointer[requestSeries]
}

var _ webdav.Recorder = (*Metrics)(nil)

type requestLabels struct {
	status        int
	method, class string
}

type requestSeries struct {
	requestLabels
	requests, in, out prometheus.Counter
	seconds           prometheus.Observer
}

// New makes metrics for a program of the given version. Series that say
// what went wrong start at zero: an alert on a counter that does not exist yet
// would miss its first step.
func New(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.series.Store(&map[requestLabels]*requestSeries{})
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nixstatic_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	seconds := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "nixstatic_" + name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "nixstatic_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	m.requests = counter("http_requests_total", "Requests answered, by method, kind of object and status.", "method", "class", "status")
	m.bytesIn = counter("http_request_body_bytes_total", "Bytes of request bodies as they came over the wire.", "class")
	m.bytesOut = counter("http_response_body_bytes_total", "Bytes of response bodies as they went over the wire.", "class")
	m.requestSeconds = seconds("http_request_seconds", "Time from a request's headers to the end of its answer.",
		[]float64{.001, .005, .02, .1, .5, 2, 10, 60, 300}, "class")
	m.uploads = counter("uploads_total", "Objects that were uploaded, by what became of them (an outcome, or the reason of a refusal) and kind.", "result", "kind")
	m.uploadBytes = counter("upload_bytes_total", "Bytes of uploaded objects that were read, decoded.", "kind")
	m.uploadSeconds = seconds("upload_seconds", "Time in which an object was received, checked and stored.",
		[]float64{.001, .005, .02, .1, .5, 2, 10, 60, 300, 1800}, "kind")
	m.paths = gauge("tree_paths", "Store paths in the cache, at the last count and since.")
	m.nars = gauge("tree_nars", "NAR files in the cache, at the last count and since.")
	m.narBytes = gauge("tree_nar_bytes", "Bytes of the NAR files in the cache, at the last count and since.")
	m.held = gauge("held_narinfos", "Narinfos that wait for what they lead to.")
	m.counted = gauge("tree_counted_timestamp_seconds", "When the cache was counted last; 0 if it was not yet.")
	m.healthy = gauge("healthy", "1 if the cache can be read.")
	m.room = gauge("room_for_uploads", "1 if the disk has room for uploads.")
	m.live = gauge("kept_bytes", "Bytes of the cache that its policy keeps, at the last run of gc in this process.")
	m.forUndo = gauge("undo_bytes", "Bytes that stay for an undo alone, at the last run of gc in this process.")
	m.maxSize = gauge("max_size_bytes", "Bytes that the policy allows, 0 for any, at the last run of gc in this process.")
	m.only = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nixstatic_kept_only_bytes", Help: "Bytes that a single root keeps, by the kind of the root, at the last run of gc in this process."}, []string{"kind"})
	m.registry.MustRegister(m.only)
	perRoot := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nixstatic_root_" + name, Help: help + ", of the 50 roots that keep most alone, at the last run of gc in this process."}, []string{"root"})
		m.registry.MustRegister(g)
		return g
	}
	counted := func(name, help, label string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nixstatic_tree_" + name, Help: help + ", at the last count."}, []string{label})
		m.registry.MustRegister(g)
		return g
	}
	m.objects = counted("objects", "Objects in the cache", "kind")
	m.bytes = counted("bytes", "Bytes of the objects in the cache", "kind")
	m.months = counted("came_bytes", "Bytes of the NAR files in the cache, by the month in which they came", "month")
	m.rootPaths = perRoot("paths", "Paths that a root keeps")
	m.rootBytes = perRoot("bytes", "Bytes that a root keeps")
	m.rootOnly = perRoot("only_bytes", "Bytes that only this root keeps")
	m.pulled = newPulled(m.registry)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "nixstatic_build_info", Help: "Always 1; the labels tell what runs.",
			ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()}}, func() float64 { return 1 }))
	for _, result := range resultWords() {
		for _, kind := range []layout.Kind{layout.KindNAR, layout.KindNarInfo} {
			m.uploads.WithLabelValues(result, kind.String())
		}
	}
	return m
}

// resultWords are the values of the label result.
func resultWords() []string {
	words := webdav.Results()
	for o := inbox.Created; o <= inbox.Held; o++ {
		words = append(words, o.String())
	}
	for _, r := range inbox.Reasons() {
		words = append(words, string(r))
	}
	return words
}

// Request counts a request.
func (m *Metrics) Request(method, class string, status int, bytesIn, bytesOut int64, d time.Duration) {
	labels := requestLabels{status, method, class}
	series := m.latest.Load() // most requests are like the one before
	if series == nil || series.requestLabels != labels {
		if series = (*m.series.Load())[labels]; series == nil {
			series = m.add(labels)
		}
		m.latest.Store(series)
	}
	if method == http.MethodGet && class == layout.KindNAR.String() && status == http.StatusOK {
		m.reads.Add(1)
	}
	series.requests.Inc()
	if bytesIn > 0 {
		m.received.Add(bytesIn)
		series.in.Add(float64(bytesIn))
	}
	if bytesOut > 0 {
		m.sent.Add(bytesOut)
		series.out.Add(float64(bytesOut))
	}
	series.seconds.Observe(d.Seconds())
}

// add makes the series of a kind of request.
func (m *Metrics) add(l requestLabels) *requestSeries {
	m.adding.Lock()
	defer m.adding.Unlock()
	all := maps.Clone(*m.series.Load())
	if all[l] == nil {
		all[l] = &requestSeries{l, m.requests.WithLabelValues(l.method, l.class, strconv.Itoa(l.status)),
			m.bytesIn.WithLabelValues(l.class), m.bytesOut.WithLabelValues(l.class), m.requestSeconds.WithLabelValues(l.class)}
		m.series.Store(&all)
	}
	return all[l]
}

// Served returns how many NARs were read since the last call, and the bytes of all
// request and answer bodies.
func (m *Metrics) Served() (reads, received, sent int64) {
	return m.reads.Swap(0), m.received.Swap(0), m.sent.Swap(0)
}

// Upload counts an upload, and what the tree has more by it.
func (m *Metrics) Upload(result string, kind layout.Kind, bytes int64, d time.Duration) {
	m.uploads.WithLabelValues(result, kind.String()).Inc()
	m.uploadBytes.WithLabelValues(kind.String()).Add(float64(max(bytes, 0)))
	m.uploadSeconds.WithLabelValues(kind.String()).Observe(d.Seconds())
	if result != inbox.Created.String() {
		return
	}
	switch kind {
	case layout.KindNarInfo:
		m.paths.Inc()
	case layout.KindNAR:
		m.nars.Inc()
		m.narBytes.Add(float64(bytes))
	}
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}
