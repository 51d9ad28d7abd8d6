package refgraph

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// TestShelf: what was put on a shelf is found, whether it fits memory or not.
func TestShelf(t *testing.T) {
	const record, key = 5, 4
	number := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }
	for _, n := range []int{0, 1, 2, blockBytes / record, blockBytes/record + 1, 10_000, scratchInMemory/record + 1, 200_000} {
		s := NewShelf(t.TempDir(), record, key)
		defer s.Close()
		for i := range n {
			s.Add(append(number(2*i+1), byte(i)))
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		if inFile := s.file != nil; inFile != (n*record >= scratchInMemory) {
			t.Errorf("%d records in a file: %v", n, inFile)
		}
		for i := 0; i <= n; i += max(1, n/1000) {
			if at, err := s.Find(number(2*i + 1)); err != nil || at != i && (i < n || at != -1) {
				t.Fatalf("%d of %d is found at %d, %v", i, n, at, err)
			}
			if at, err := s.Find(number(2 * i)); err != nil || at != -1 {
				t.Fatalf("what is not among %d is found at %d, %v", n, at, err)
			}
		}
		next := 0
		for record, err := range s.All() {
			if err != nil || record.Number != next || !bytes.Equal(record.Bytes, append(number(2*next+1), byte(next))) {
				t.Fatalf("%d of %d: %v, %v", next, n, record, err)
			}
			next++
		}
		if next != n || s.Len() != n {
			t.Errorf("%d of %d", next, n)
		}
	}
	full := NewShelf("/dev/null/nowhere", record, key)
	for i := range 200_000 {
		full.Add(append(number(i), 0))
	}
	if err := full.Seal(); !errors.As(err, new(*SpoolError)) {
		t.Errorf("no room: %v", err)
	}
}
