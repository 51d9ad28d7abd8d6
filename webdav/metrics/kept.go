package metrics

// Kept is what the last run of gc in this process found out.
type Kept struct {
	Live    int64            // bytes that stay
	ForUndo int64            // bytes that stay for an undo alone
	Max     int64            // bytes that the policy allows; 0 for any
	Only    map[string]int64 // by kind of root: bytes that only one root of that kind keeps
}

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
}
