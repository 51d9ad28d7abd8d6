package layout_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A fenced tree counts how often a writer looks for the plan, as in a bucket.
type fenced struct {
	planned
	fence layout.Fence
}

func (f *fenced) Fence() *layout.Fence { return &f.fence }

func (f *fenced) ProveFence(context.Context) (layout.FenceProof, error) {
	return layout.FenceProof{Conditions: true}, nil
}

// Writers look for a plan that is quiet once a minute, however much they publish, and
// read it once.
func TestQuietPlan(t *testing.T) {
	dir, err := layout.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	for _, text := range []string{"", `{"epoch": 3, "nonce": "x", "keepYoung": 36000}`} {
		reads := int32(0) // the first look finds a plan, and reads it
		if text != "" {
			reads = 1
			if err := dir.Put(t.Context(), layout.PlanKey, layout.Bytes([]byte(text)), layout.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Test(t, func(t *testing.T) {
			tree := &fenced{planned: planned{Dir: dir}}
			for range 600 {
				sight, err := layout.Look(t.Context(), tree)
				if err != nil {
					t.Fatal(err)
				}
				rely, err := layout.Rely(t.Context(), tree, sight, layout.NarInfoKeyOf("00000000000000000000000000000000"))
				if err != nil || rely.Stale {
					t.Fatal(rely, err)
				}
				rely.Release()
				time.Sleep(time.Second)
			}
			if looks := tree.looks.Load(); looks != 10+reads {
				t.Errorf("plan %q was looked for %d times in ten minutes", text, looks)
			}
		})
	}
}
