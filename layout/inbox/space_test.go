package inbox

import (
	"io"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

func TestFreeSpace(t *testing.T) {
	s := newSample(t)
	nar := s.nar(t, "app")
	size := int64(len(s.objects[nar]))
	free := uint64(size + 1000)
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace = func() (uint64, error) { return free, nil }
		c.MinFree = 1000
	})
	check := func(size int64, want Reason) {
		t.Helper()
		if err := tr.Check(t.Context(), nar, Options{Size: size}); ReasonOf(err) != want {
			t.Errorf("check %d bytes: %v, want %q", size, err, want)
		}
	}
	check(size, "")
	check(size+1, NoSpace)
	check(-1, "")
	// Uploads on their way count.
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() {
		_, err := tr.Put(t.Context(), nar, reader, Options{Size: size})
		done <- err
	}()
	half := size / 2
	if _, err := io.WriteString(writer, s.objects[nar][:half]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(writer, s.objects[nar][half:half+1]); err != nil { // the half has been counted
		t.Fatal(err)
	}
	check(half+2, NoSpace)
	check(half-1, "")
	if _, err := io.WriteString(writer, s.objects[nar][half+1:]); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if tr.space.coming != 0 {
		t.Errorf("%d bytes are coming", tr.space.coming)
	}
	free = 999
	check(0, NoSpace)
	check(-1, NoSpace)
	tr.refused(s.nar(t, "lib"), s.objects[s.nar(t, "lib")], true, NoSpace)
	key := layout.NarInfoKey(s.path("builder.sh"))
	tr.must(key, s.objects[key], false, Held) // records complete what is there
}

// The floor holds while a body of unknown size streams in.
func TestFreeSpaceWhileStreaming(t *testing.T) {
	asked := 0
	tr := newTrial(t, func(c *Config) {
		c.FreeSpace = func() (uint64, error) {
			if asked++; asked > 2 {
				return 10, nil
			}
			return 1 << 40, nil
		}
		c.MinFree = 1000
	})
	key := layout.Key("log/" + strings.Repeat("0", 32) + "-x.drv")
	endless := io.LimitReader(zeros{}, 1<<30)
	if _, err := tr.Put(t.Context(), key, endless, Options{Size: -1}); ReasonOf(err) != NoSpace {
		t.Errorf("put: %v", err)
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
