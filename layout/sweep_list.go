package layout

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// A SweepList is a slice of what is condemned: for each object the first 8 bytes of the
// SHA-256 of its key, and 8 that stand for its version, in ascending order. The
// list is put before a plan names it, and never changes. Two keys with the same 8
// bytes would cost a needless note.
type SweepList []Condemned

// A Condemned is an object that may go.
type Condemned struct{ Key, Version uint64 }

const condemnedSize = 16

// CondemnedKeyOf returns what stands for a key in a SweepList.
func CondemnedKeyOf(key Key) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])
}

// Names reports whether a key is in the list. The listing of a path goes with its
// narinfo.
func (l SweepList) Names(key Key) bool {
	if key.Kind() == KindListing && l.has(CondemnedKeyOf(NarInfoKeyOf(key.PathHash()))) {
		return true
	}
	return l.has(CondemnedKeyOf(key))
}

func (l SweepList) has(key uint64) bool {
	_, found := slices.BinarySearchFunc(l, key, func(c Condemned, key uint64) int { return cmp.Compare(c.Key, key) })
	return found
}

// Marshal returns the object that holds the list.
func (l SweepList) Marshal() []byte {
	l = slices.Clone(l)
	slices.SortFunc(l, func(a, b Condemned) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Version, b.Version))
	})
	b := make([]byte, 0, len(l)*condemnedSize)
	for _, c := range l {
		b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, c.Key), c.Version)
	}
	return b
}

// parseSweepList reads a SweepList. A list that makes no sense is an error, since its
// reader would not know what it names.
func parseSweepList(text []byte) (SweepList, error) {
	if len(text)%condemnedSize != 0 {
		return nil, fmt.Errorf("%d bytes are not a list of what is condemned", len(text))
	}
	list := make(SweepList, 0, len(text)/condemnedSize)
	for some := range slices.Chunk(text, condemnedSize) {
		c := Condemned{binary.BigEndian.Uint64(some), binary.BigEndian.Uint64(some[8:])}
		if n := len(list); n > 0 && c.Key < list[n-1].Key {
			return nil, fmt.Errorf("a list of what is condemned is out of order")
		}
		list = append(list, c)
	}
	return list, nil
}

// SweepListKey is where a slice of a round is.
func SweepListKey(round string, slice int) Key {
	return Key(fmt.Sprintf("%s%s/%05d", ListsPrefix, round, slice))
}

// ReadSweepList reads a slice of a round.
func ReadSweepList(ctx context.Context, r Reader, round string, slice int) (SweepList, error) {
	key := SweepListKey(round, slice)
	text, err := ReadAll(ctx, r, key)
	if err != nil {
		return nil, err
	}
	list, err := parseSweepList(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return list, nil
}

// ParseSweepNote reads the keys of a note.
func ParseSweepNote(text []byte) (keys []Key, err error) {
	for line := range bytes.Lines(text) {
		key, err := ParseKey(string(bytes.TrimSuffix(line, []byte("\n"))))
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
