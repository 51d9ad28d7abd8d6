package treetest_test

import (
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func TestDir(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree {
		dir, err := layout.OpenDir(t.TempDir() + "/cache")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := dir.Close(); err != nil {
				t.Error(err)
			}
		})
		return dir
	})
}

func TestMem(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree { return treetest.NewMem(t) })
}

// TestFaulty: without a fault planned, it is the tree below.
func TestFaulty(t *testing.T) {
	treetest.Test(t, func(t *testing.T) layout.Tree { return &treetest.Faulty{Tree: treetest.NewMem(t)} })
	t.Run("Dir", func(t *testing.T) {
		treetest.Test(t, func(t *testing.T) layout.Tree { return &treetest.Faulty{Tree: treetest.OpenDir(t, t.TempDir())} })
	})
}
