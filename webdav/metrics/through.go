package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nixstatic/nixstatic/webdav/through"
)

// An Upstream is how a cache does that a server fetches from.
type Upstream struct {
	URL   string // without credentials
	Alone error  // why it is not asked at this moment; nil: it is
}

// pulled counts what is fetched from other caches.
type pulled struct {
	results   *prometheus.CounterVec
	bytes     prometheus.Counter
	upstreams *prometheus.GaugeVec
}

func newPulled(r *prometheus.Registry) pulled {
	p := pulled{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "nixstatic_pull_through_total",
			Help: "Questions for narinfos and fetches of NARs for what the cache lacked, by what became of them."}, []string{"result"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "nixstatic_pull_through_bytes_total",
			Help: "Bytes of NARs that upstreams sent."}),
		upstreams: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "nixstatic_pull_through_upstream_asked",
			Help: "1 if the upstream is asked, 0 while it is left alone because it failed or was slow."}, []string{"upstream"}),
	}
	r.MustRegister(p.results, p.bytes, p.upstreams)
	for _, result := range through.Results() {
		p.results.WithLabelValues(result)
	}
	return p
}

// PulledThrough counts a question or a fetch.
func (m *Metrics) PulledThrough(result string, bytes int64) {
	m.pulled.results.WithLabelValues(result).Inc()
	m.pulled.bytes.Add(float64(max(bytes, 0)))
}

// upstreams tells how the caches do that are fetched from.
func (m *Metrics) upstreams(all []Upstream) {
	for _, u := range all {
		asked := 1.0
		if u.Alone != nil {
			asked = 0
		}
		m.pulled.upstreams.WithLabelValues(u.URL).Set(asked)
	}
}
