package uses

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

const (
	version = 1
	// maxEntries is how many entries an object has before another is begun. The
	// longest has 80 bytes.
	maxEntries = 40_000
	dayFormat  = "2006-01-02"
)

type head struct {
	Version int    `json:"version"`
	Day     string `json:"day"`
	By      string `json:"by"`
}

// A Day is what one object tells: the store paths and NARs that were read on a day.
type Day struct {
	Day   time.Time // its beginning, UTC
	Paths []refgraph.PathID
	NARs  []refgraph.NARID
}

// entryOf returns what is written down for a key that was read, "" for nothing.
func entryOf(key layout.Key) string {
	switch key.Kind() {
	case layout.KindNarInfo:
		return key.PathHash()
	case layout.KindNAR:
		if _, ok := refgraph.PackNAR(key); ok {
			return string(key)
		}
	}
	return ""
}

func encode(h head, entries []string) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return []byte(string(text) + "\n" + strings.Join(entries, "\n") + "\n"), nil
}

// parse reads an object.
func parse(text []byte) (d Day, err error) {
	if !bytes.HasSuffix(text, []byte("\n")) {
		return d, errors.New("its end is missing")
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 4<<10)
	lines.Scan()
	var h head
	if err := json.Unmarshal(lines.Bytes(), &h); err != nil {
		return d, err
	}
	if h.Version != version {
		return d, fmt.Errorf("it has version %d, and %d is known", h.Version, version)
	}
	if d.Day, err = time.Parse(dayFormat, h.Day); err != nil {
		return d, err
	}
	for lines.Scan() {
		entry := lines.Text()
		if id, ok := refgraph.PackNAR(layout.Key(entry)); ok {
			d.NARs = append(d.NARs, id)
		} else if key := layout.NarInfoKeyOf(entry); key.PathHash() == entry {
			d.Paths = append(d.Paths, refgraph.PackPath(entry))
		} else if entry != "" {
			return d, fmt.Errorf("%.60q is neither the hash of a store path nor a NAR", entry)
		}
	}
	return d, lines.Err()
}

// put writes entries of a day, in as many objects as they need.
func put(ctx context.Context, t layout.Tree, day time.Time, by, name string, entries []string) error {
	for n := 0; len(entries) > 0; n++ {
		some := entries[:min(len(entries), maxEntries)]
		entries = entries[len(some):]
		text, err := encode(head{version, day.Format(dayFormat), by}, some)
		if err != nil {
			return err
		}
		key := layout.Key(fmt.Sprintf("%s%s/%s-%04d", layout.UsedPrefix, day.Format(dayFormat), name, n))
		if err := t.Put(ctx, key, layout.Bytes(text), layout.PutOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// keyDay returns the day that a key is of.
func keyDay(key layout.Key) (time.Time, bool) {
	day, _, _ := strings.Cut(strings.TrimPrefix(string(key), layout.UsedPrefix), "/")
	t, err := time.Parse(dayFormat, day)
	return t, err == nil
}

// Read yields what was read from a day on. An object that makes no sense is an error:
// what it would keep is not known.
func Read(ctx context.Context, t layout.Lister, since time.Time) iter.Seq2[Day, error] {
	return func(yield func(Day, error) bool) {
		for info, err := range t.List(ctx, layout.UsedPrefix) {
			if err != nil {
				yield(Day{}, fmt.Errorf("list what was read: %w", err))
				return
			}
			if day, ok := keyDay(info.Key); ok && day.Before(since.UTC().Truncate(24*time.Hour)) {
				continue
			}
			text, err := layout.ReadAll(ctx, t, info.Key)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			var d Day
			if err == nil {
				if d, err = parse(text); err != nil {
					err = fmt.Errorf("read %s: %w", info.Key, err)
				}
			}
			if !yield(d, err) || err != nil {
				return
			}
		}
	}
}

// Before returns the objects of days before one, which may be forgotten.
func Before(ctx context.Context, t layout.Lister, day time.Time) (keys []layout.Key, err error) {
	for info, err := range t.List(ctx, layout.UsedPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list what was read: %w", err)
		}
		if of, ok := keyDay(info.Key); ok && of.Before(day) {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// sorted returns the entries of a set in order.
func sorted(set map[string]bool) []string {
	entries := make([]string, 0, len(set))
	for entry := range set {
		entries = append(entries, entry)
	}
	slices.Sort(entries)
	return entries
}
