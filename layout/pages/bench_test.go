package pages

import (
	"fmt"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

// BenchmarkApply brings a page up to date after an export of so many paths.
func BenchmarkApply(b *testing.B) {
	b.Run("words", func(b *testing.B) {
		applied(b, func(n int) string { return fmt.Sprintf("python3.12-package%d-1.%d", n%9000, n%17) })
	})
	b.Run("word", func(b *testing.B) { applied(b, func(n int) string { return fmt.Sprintf("path-%d", n) }) })
}

func applied(b *testing.B, name func(n int) string) {
	var c Change
	for n := range 50_000 {
		c.Came = append(c.Came, record(n, name(n)))
	}
	for b.Loop() {
		b.StopTimer()
		dir, err := layout.OpenDir(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		k := &Keeper{Tree: dir}
		if err := k.Set(b.Context(), false, func(*Settings) error { return nil }); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if err := k.Apply(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		dir.Close()
		b.StartTimer()
	}
}
