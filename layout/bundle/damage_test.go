package bundle

import (
	"bytes"
	"errors"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/quick"
)

// A byte that is not the one that was written is found, or does no harm.
func TestFlip(t *testing.T) {
	source := treetest.Source(t)
	w := write(t, source, nil, Options{Logs: true})
	whole := w[0].Bytes()
	want := treetest.Contents(t, extractedOf(t, whole))
	var places []int
	for at := 0; at < len(whole); at += 509 * quick.Step(5) {
		places = append(places, at)
	}
	for _, m := range open(t, w.all()...).parts[0].members[:8] {
		for at := m.at - block; at < m.at+min(m.size, 64); at += int64(3 * quick.Step(5)) {
			places = append(places, int(at))
		}
	}
	for i, at := range places {
		for _, flip := range []byte{[]byte{1, 0x20, 0xff}[i%3]} {
			text := bytes.Clone(whole)
			text[at] ^= flip
			file := File{"b.tar", bytes.NewReader(text), int64(len(text))}
			b, err := Open(file)
			if err == nil {
				err = b.Check(t.Context(), nil)
			}
			if err != nil {
				continue
			}
			for key, text := range want {
				if got, err := layout.ReadAll(t.Context(), b, key); err != nil || string(got) != text {
					t.Fatalf("byte %d ^ %#x is taken, and %s is another: %v", at, flip, key, err)
				}
			}
			if len(b.keys) != len(want) {
				t.Fatalf("byte %d ^ %#x is taken: %d objects, want %d", at, flip, len(b.keys), len(want))
			}
		}
	}
}

func extractedOf(t *testing.T, text []byte) *treetest.Mem {
	return extracted(t, written{bytes.NewBuffer(bytes.Clone(text))})
}

// A file that was cut off anywhere is not taken.
func TestCut(t *testing.T) {
	w := write(t, treetest.Source(t), nil, Options{})
	whole := w[0].Bytes()
	b := open(t, w.all()...)
	last := b.parts[0].members[len(b.parts[0].members)-1]
	for at := int64(0); at < last.at+last.size; at += 211 {
		_, err := Open(File{"b.tar", bytes.NewReader(whole[:at]), at})
		bad := (*BadError)(nil)
		if !errors.Is(err, ErrCut) && !errors.As(err, &bad) {
			t.Fatalf("cut off after %d bytes: %v", at, err)
		}
		if at > 4096 && !errors.Is(err, ErrCut) {
			t.Fatalf("cut off after %d bytes: %v, want %v", at, err, ErrCut)
		}
	}
}

// A NAR of the cache that is damaged ends the writing.
func TestDamaged(t *testing.T) {
	for name, edit := range map[string]func([]byte) []byte{
		"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"short":   func(b []byte) []byte { return b[:len(b)-1] },
		"long":    func(b []byte) []byte { return append(b, 0) },
	} {
		source := treetest.Source(t)
		key := layout.Key(treetest.Record(t, source, "app").URL)
		for _, most := range []int64{0, 64_000} {
			plan, err := MakePlan(t.Context(), source, nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			damaged := source.Clone(t)
			damaged.Rot(key, edit)
			var w written
			if err := plan.Write(t.Context(), damaged, w.next, Options{MaxPart: most}); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, parts of %d bytes: %v, want %v", name, most, err, ErrDamaged)
			}
		}
	}
}
