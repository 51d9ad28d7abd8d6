package pages

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A kind of table says where it is, and what its lines are ordered by.
type kind struct {
	folder, name string
	// key orders the lines of a table. No two lines have the same one.
	key func(line string) string
}

// list is the key of the table's list.
func (k kind) list() layout.Key { return layout.Key(k.folder + k.name + ".json") }

// shard is the key of a shard.
func (k kind) shard(name string) layout.Key { return layout.Key(k.folder + name + ".txt") }

// tables returns the two tables of a page. Those of an unlisted one are private.
func tables(unlisted bool) (hashes, names kind) {
	folder := layout.SearchFolder
	if unlisted {
		folder = layout.PrivatePrefix + layout.SearchFolder
	}
	return kind{folder, "hashes", hashOf}, kind{folder, "names", strings.ToLower}
}

// hashOf returns the hash that a line of the table of hashes begins with.
func hashOf(line string) string { return line[:min(len(line), hashLen)] }

// The bytes of a shard: as many as there may be, as many as one has that was made
// from others, and so few that it is joined to the next. A browser reads the list
// and a shard or two for a query.
const (
	shardMost  = 64 << 10
	shardGood  = 48 << 10
	shardLeast = 8 << 10
)

// A table is the list of its shards.
type table struct {
	Version int       `json:"version"`
	Shards  []shard   `json:"shards"`
	Retired []retired `json:"retired,omitempty"`
	Totals  *totals   `json:"totals,omitempty"` // of the table of hashes
}

// tableVersion is that of the form of lists and shards.
const tableVersion = 1

// A shard is written as an array: what all its keys are at least and those of the
// shard before are not, its name, and how many lines it has.
type shard struct {
	from, name string
	lines      int
}

// isShard reports whether a name is one of those that shards have.
func isShard(name string) bool {
	return layout.Key(layout.SearchFolder+name+".txt").Kind() == layout.KindPage
}

// MarshalJSON writes the array.
func (s shard) MarshalJSON() ([]byte, error) { return json.Marshal([]any{s.from, s.name, s.lines}) }

// UnmarshalJSON reads it.
func (s *shard) UnmarshalJSON(text []byte) error {
	return readArray(text, &s.from, &s.name, &s.lines)
}

// A retired shard is named by no list since a time, in seconds.
type retired struct {
	name string
	at   int64
}

// MarshalJSON writes an array.
func (r retired) MarshalJSON() ([]byte, error) { return json.Marshal([]any{r.name, r.at}) }

// UnmarshalJSON reads it.
func (r *retired) UnmarshalJSON(text []byte) error { return readArray(text, &r.name, &r.at) }

func readArray(text []byte, to ...any) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return err
	}
	if len(raw) != len(to) {
		return fmt.Errorf("an array of %d, not %d", len(raw), len(to))
	}
	for i := range to {
		if err := json.Unmarshal(raw[i], to[i]); err != nil {
			return err
		}
	}
	return nil
}

// parseTable reads a list. No bytes are an empty table.
func parseTable(text []byte) (*table, error) {
	t := &table{Version: tableVersion}
	if text == nil {
		return t, nil
	}
	if err := json.Unmarshal(text, t); err != nil {
		return nil, err
	}
	if t.Version != tableVersion {
		return nil, fmt.Errorf("version %d, not %d", t.Version, tableVersion)
	}
	for i, s := range t.Shards {
		if !isShard(s.name) || s.lines < 1 || i > 0 && s.from <= t.Shards[i-1].from {
			return nil, fmt.Errorf("the shard %q is out of order or has no name", s.name)
		}
	}
	for _, r := range t.Retired {
		if !isShard(r.name) {
			return nil, fmt.Errorf("the shard %q has no name", r.name)
		}
	}
	return t, nil
}

func (t *table) marshal() ([]byte, error) {
	text, err := json.Marshal(t)
	return append(text, '\n'), err
}

// load returns the lines of a shard, whose order is checked. The error is a
// DamagedError if the shard is not what the list says.
func (k kind) load(s shard, read func(layout.Key) ([]byte, error)) ([]string, error) {
	key := k.shard(s.name)
	text, err := read(key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		err = &DamagedError{err}
	}
	if err != nil {
		return nil, err
	}
	if digest(text)[:len(s.name)] != s.name {
		return nil, &DamagedError{fmt.Errorf("%s has other bytes than its name says", key)}
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i := 1; i < len(lines); i++ {
		if k.key(lines[i-1]) >= k.key(lines[i]) {
			return nil, &DamagedError{fmt.Errorf("%s is out of order", key)}
		}
	}
	return lines, nil
}

// An edit is a line that is to be in a table or not. It counts for more than a
// line of the same key that is there.
type edit struct {
	key, line string
	remove    bool
}

// change returns the table after edits, which are in order, and the shards that
// are new, by their keys. Read returns the bytes of a shard that is there.
func (t *table) change(k kind, edits []edit, now time.Time, read func(layout.Key) ([]byte, error)) (*table, map[layout.Key][]byte, error) {
	next := &table{Version: tableVersion, Totals: t.Totals}
	c := &cutter{k: k, table: next, written: map[layout.Key][]byte{}}
	for i := 0; i < len(t.Shards) || i == 0; i++ {
		if len(t.Shards) > 0 && !t.touched(i, edits) {
			next.Shards = append(next.Shards, t.Shards[i])
			continue
		}
		// A run of shards that are edited, one after the other, is cut anew.
		if i < len(t.Shards) {
			c.from = t.Shards[i].from
		}
		for {
			var have []string
			if i < len(t.Shards) {
				var err error
				if have, err = k.load(t.Shards[i], read); err != nil {
					return nil, nil, err
				}
			}
			var mine []edit
			end, more := t.end(i)
			mine, edits = split(edits, end, more)
			c.add(k.merge(have, mine))
			if more && (t.touched(i+1, edits) || c.size > 0 && c.size < shardLeast) {
				i++
				continue
			}
			break
		}
		c.finish()
	}
	next.retire(t, now)
	return next, c.written, nil
}

// end returns the key that the shards behind i begin with; false behind the last.
func (t *table) end(i int) (string, bool) {
	if i+1 < len(t.Shards) {
		return t.Shards[i+1].from, true
	}
	return "", false
}

// touched reports whether the first of the edits falls into shard i.
func (t *table) touched(i int, edits []edit) bool {
	if len(edits) == 0 {
		return false
	}
	end, more := t.end(i)
	return !more || edits[0].key < end
}

func split(edits []edit, end string, more bool) (mine, rest []edit) {
	if !more {
		return edits, nil
	}
	n := sort.Search(len(edits), func(i int) bool { return edits[i].key >= end })
	return edits[:n], edits[n:]
}

// merge applies edits to lines, both in order.
func (k kind) merge(lines []string, edits []edit) []string {
	if len(edits) == 0 {
		return lines
	}
	merged := make([]string, 0, len(lines)+len(edits))
	for _, line := range lines {
		key := k.key(line)
		for len(edits) > 0 && edits[0].key < key {
			if !edits[0].remove {
				merged = append(merged, edits[0].line)
			}
			edits = edits[1:]
		}
		if len(edits) > 0 && edits[0].key == key {
			if !edits[0].remove {
				merged = append(merged, edits[0].line)
			}
			edits = edits[1:]
			continue
		}
		merged = append(merged, line)
	}
	for _, e := range edits {
		if !e.remove {
			merged = append(merged, e.line)
		}
	}
	return merged
}

// A cutter makes shards of the lines of a run.
type cutter struct {
	k       kind
	table   *table
	written map[layout.Key][]byte

	from  string // what the next shard begins with
	lines []string
	size  int
}

// add takes the next lines of the run. A long run is cut as it goes.
func (c *cutter) add(lines []string) {
	for _, line := range lines {
		c.lines = append(c.lines, line)
		if c.size += len(line) + 1; c.size >= 2*shardMost {
			c.cut(shardGood)
		}
	}
}

// finish ends the run: what is left makes shards of about the same size.
func (c *cutter) finish() {
	for pieces := 1 + (c.size-1)/shardMost; len(c.lines) > 0; pieces-- {
		c.cut((c.size + pieces - 1) / max(1, pieces))
	}
}

// cut makes a shard of the first lines, of about so many bytes.
func (c *cutter) cut(most int) {
	var b bytes.Buffer
	n := 0
	for n < len(c.lines) && (n == 0 || b.Len()+len(c.lines[n])/2 < most) {
		b.WriteString(c.lines[n])
		b.WriteByte('\n')
		n++
	}
	// No two shards have the same bytes: no line is in two.
	s := shard{from: c.from, name: digest(b.Bytes())[:hashLen/2], lines: n}
	c.table.Shards = append(c.table.Shards, s)
	c.written[c.k.shard(s.name)] = b.Bytes()
	if n < len(c.lines) {
		c.from = between(c.k.key(c.lines[n-1]), c.k.key(c.lines[n]))
	}
	c.lines, c.size = c.lines[n:], c.size-b.Len()
}

// between returns the shortest text that is greater than a and not greater than b:
// lists are short so.
func between(a, b string) string {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return b[:min(len(b), n+1)]
}

// retire notes which shards of the table before are not in this one.
func (t *table) retire(before *table, now time.Time) {
	used := map[string]bool{}
	for _, s := range t.Shards {
		used[s.name] = true
	}
	for _, r := range before.Retired {
		if !used[r.name] {
			t.Retired = append(t.Retired, r)
			used[r.name] = true
		}
	}
	for _, s := range before.Shards {
		if !used[s.name] {
			t.Retired = append(t.Retired, retired{s.name, now.Unix()})
			used[s.name] = true
		}
	}
}

// keepRetired is how long a shard stays that no list names.
const keepRetired = time.Hour

// due takes the retired shards whose time is over out of the table.
func (t *table) due(k kind, now time.Time) (keys []layout.Key) {
	t.Retired = slices.DeleteFunc(t.Retired, func(r retired) bool {
		over := now.Sub(time.Unix(r.at, 0)) > keepRetired
		if over {
			keys = append(keys, k.shard(r.name))
		}
		return over
	})
	return keys
}
