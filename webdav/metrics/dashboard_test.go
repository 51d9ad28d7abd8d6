package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// TestDashboard checks that the example for Grafana asks for series that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../examples/grafana/nixstatic.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("the dashboard is no JSON")
	}
	m := New("test")
	m.Request("GET", "nar", 200, 0, 1, time.Second)
	m.Upload("created", layout.KindNAR, 1, time.Second)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, family := range families {
		have[family.GetName()] = true
	}
	asked := regexp.MustCompile(`nixstatic_[a-z_]+`).FindAllString(string(text), -1)
	for _, name := range asked {
		if !have[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("there is no %s", name)
		}
	}
	if len(asked) < 10 {
		t.Errorf("it asks for %d series", len(asked))
	}
}
