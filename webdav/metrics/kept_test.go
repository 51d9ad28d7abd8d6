package metrics

import (
	"fmt"
	"testing"
)

// TestKeptRoots: each root is told of, the many small ones together, and none that is
// gone by the next run.
func TestKeptRoots(t *testing.T) {
	m := New("test")
	sums := func() (series int, paths map[string]float64) {
		families, err := m.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		paths = map[string]float64{}
		for _, family := range families {
			if family.GetName() != "nixstatic_root_paths" {
				continue
			}
			for _, metric := range family.GetMetric() {
				series++
				paths[metric.GetLabel()[0].GetValue()] = metric.GetGauge().GetValue()
			}
		}
		return series, paths
	}
	var k Kept
	for i := range MaxRoots + 30 {
		k.Roots = append(k.Roots, KeptRoot{Name: fmt.Sprint("root acme@", i), Paths: 2, Bytes: 3, Only: 1})
	}
	m.Kept(k)
	if series, paths := sums(); series != MaxRoots+1 || paths["root acme@0"] != 2 || paths["other"] != 60 {
		t.Errorf("%d series: %v", series, paths)
	}
	m.Kept(Kept{Roots: k.Roots[:1]})
	if series, paths := sums(); series != 1 || paths["root acme@0"] != 2 {
		t.Errorf("%d series: %v", series, paths)
	}
}
