package metrics

import "github.com/prometheus/client_golang/prometheus"

// Kept is what the last run of gc in this process found out.
type Kept struct {
	Live    int64            // bytes that stay
	ForUndo int64            // bytes that stay for an undo alone
	Max     int64            // bytes that the policy allows; 0 for any
	Only    map[string]int64 // by kind of root: bytes that only one root of that kind keeps
	// Roots are those that keep most alone, this first. The rest of more than
	// MaxRoots is told together, under the name "other".
	Roots []KeptRoot
}

// A KeptRoot is a row of nixstatic du.
type KeptRoot struct {
	Name        string
	Paths       int64
	Bytes, Only int64 // of all that it keeps; of what nothing else keeps
}

// MaxRoots is how many roots have metrics of their own: each costs the collector of the
// metrics as much as a gauge.
const MaxRoots = 50

// Kept tells what a run of gc found out.
func (m *Metrics) Kept(k Kept) {
	if m == nil {
		return
	}
	m.live.Set(float64(k.Live))
	m.forUndo.Set(float64(k.ForUndo))
	m.maxSize.Set(float64(k.Max))
	m.only.Reset()
	for kind, bytes := range k.Only {
		m.only.WithLabelValues(kind).Set(float64(bytes))
	}
	for _, gauge := range []*prometheus.GaugeVec{m.rootPaths, m.rootBytes, m.rootOnly} {
		gauge.Reset()
	}
	for i, r := range k.Roots {
		name := r.Name
		if i >= MaxRoots {
			name = "other"
		}
		m.rootPaths.WithLabelValues(name).Add(float64(r.Paths))
		m.rootBytes.WithLabelValues(name).Add(float64(r.Bytes))
		m.rootOnly.WithLabelValues(name).Add(float64(r.Only))
	}
}
