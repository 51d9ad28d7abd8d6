package nixconf

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBlocks sets and removes blocks in every order: what is left in the end is the
// file as it was.
func TestBlocks(t *testing.T) {
	for _, start := range []string{"", "\n", "a = b", "a = b\n", "a = b\r\n# c\r\n", "# begin nixstatic other\nx\n# end nixstatic other\n"} {
		for _, exists := range []bool{true, false} {
			if !exists && start != "" {
				continue
			}
			var file []byte
			if exists {
				file = []byte(start)
			}
			for _, place := range []Place{AtEnd, AtStart} {
				for _, order := range [][]string{{"A", "B", "C"}, {"A", "C", "B"}, {"B", "A", "C"}, {"B", "C", "A"}, {"C", "A", "B"}, {"C", "B", "A"}} {
					text := bytes.Clone(file)
					for _, name := range []string{"A", "B", "C"} {
						text = set(t, text, name, place, "line "+name)
						text = set(t, text, name, place, "line "+name, "more")
						if again := set(t, text, name, place, "line "+name, "more"); !bytes.Equal(again, text) {
							t.Errorf("twice is not once:\n%s", cmp.Diff(string(text), string(again)))
						}
					}
					for i, name := range order {
						left, ok, err := RemoveBlock(text, name)
						if err != nil || !ok {
							t.Fatalf("remove %s: %v, %v", name, ok, err)
						}
						for _, other := range order[i+1:] {
							lines, ok, err := Block(left, other)
							if err != nil || !ok || lines[0] != "line "+other {
								t.Fatalf("%s lost %s: %q, %v", name, other, lines, err)
							}
						}
						text = left
					}
					if !bytes.Equal(text, file) || (text == nil) != (file == nil) {
						t.Errorf("%q, place %d, removed in the order %q: %q is left", start, place, order, text)
					}
				}
			}
		}
	}
}

func set(t *testing.T, text []byte, name string, at Place, lines ...string) []byte {
	t.Helper()
	out, err := SetBlock(text, name, lines, at)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestBlockAmongOthers: what was added around a block later stays.
func TestBlockAmongOthers(t *testing.T) {
	text := set(t, []byte("a = b"), "A", AtEnd, "x")
	text = append(text, "c = d\n"...)
	left, _, err := RemoveBlock(text, "A")
	if err != nil || string(left) != "a = b\nc = d\n" {
		t.Errorf("%q, %v", left, err)
	}
	text = append([]byte("first\n"), set(t, nil, "A", AtEnd, "x")...)
	if left, _, err = RemoveBlock(text, "A"); err != nil || string(left) != "first\n" {
		t.Errorf("%q, %v", left, err)
	}
	if _, ok, err := RemoveBlock([]byte("# begin nixstatic https://a/b\nx\n# end nixstatic https://a/b\n"), "https://a"); ok || err != nil {
		t.Errorf("the block of a longer name was taken: %v", err)
	}
}

// TestBrokenBlocks: marks that make no sense are told, with their line, and nothing
// is guessed.
func TestBrokenBlocks(t *testing.T) {
	for text, line := range map[string]int{
		"x\n# begin nixstatic A\ny\n": 2,
		"# end nixstatic A\n":         1,
		"# begin nixstatic A\n# begin nixstatic A\n# end nixstatic A\n":       2,
		"# begin nixstatic A\n# begin nixstatic B\n# end nixstatic B\n":       1,
		"# begin nixstatic A\n# end nixstatic A\n# begin nixstatic A\nx\n":    3,
		"# begin nixstatic A\n# end nixstatic B\nmine\n# end nixstatic A\n":   1,
		"# begin nixstatic A\n# end nixstatic A\n# end nixstatic A (again)\n": 3,
	} {
		var broken *BlockError
		if _, _, err := RemoveBlock([]byte(text), "A"); !errors.As(err, &broken) || broken.Line != line {
			t.Errorf("remove from %q: %v, want line %d", text, err, line)
		}
		if _, err := SetBlock([]byte(text), "A", []string{"x"}, AtEnd); !errors.As(err, &broken) {
			t.Errorf("set in %q: %v", text, err)
		}
	}
	for _, bad := range []string{"", "a b", "a\nb", "a#b"} {
		if _, err := SetBlock(nil, bad, nil, AtEnd); err == nil {
			t.Errorf("the name %q was taken", bad)
		}
	}
	for _, bad := range []string{"a\nb", "a\rb", "# end nixstatic A", "# begin nixstatic B"} {
		if _, err := SetBlock(nil, "A", []string{bad}, AtEnd); err == nil {
			t.Errorf("the line %q was taken", bad)
		}
	}
}

func FuzzBlocks(f *testing.F) {
	f.Add("a = b\n", "x", false)
	f.Add("# begin nixstatic A (the line before had no end)\nx\n# end nixstatic A\n", "y", true)
	f.Fuzz(func(t *testing.T, text, line string, start bool) {
		place := AtEnd
		if start {
			place = AtStart
		}
		if _, there, err := Block([]byte(text), "A"); there || err != nil {
			RemoveBlock([]byte(text), "A")
			return
		}
		with, err := SetBlock([]byte(text), "A", []string{line}, place)
		if err != nil {
			return
		}
		if lines, ok, err := Block(with, "A"); err != nil || !ok || strings.Join(lines, "\n") != line {
			t.Fatalf("%q reads as %q, %v, %v", line, lines, ok, err)
		}
		if left, ok, err := RemoveBlock(with, "A"); err != nil || !ok || string(left) != text {
			t.Fatalf("%q is left of %q: %v", left, text, err)
		}
	})
}
