package through

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// While the disk is full, no upstream is asked for NARs that could not be stored, however
// often clients come.
func TestFullDisk(t *testing.T) {
	up := newCache(t, "up-1")
	free := uint64(0)
	tr := newTrialWith(t, inbox.Config{MinFree: 1 << 20, FreeSpace: func() (uint64, error) { return free, nil }}, up)
	app := treetest.Closure(t).Named("app").Info.Path
	n := tr.record(t, app)
	for range 5 {
		if status, _, _ := tr.get(t, n.URL); status != 503 {
			t.Errorf("status %d", status)
		}
	}
	if up.nars() != 0 || tr.counted.of(Failed) != 0 {
		t.Errorf("%d NARs were asked for, counted: %v", up.nars(), tr.counted.all)
	}
	tr.nothing(t, app)
	free = 1 << 30
	if status, _, err := tr.get(t, n.URL); status != 200 || err != nil {
		t.Errorf("with room again: %d, %v", status, err)
	}
	tr.settled(t)
}
