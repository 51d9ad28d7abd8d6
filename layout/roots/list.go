package roots

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// listVersion is in the head of each list.
const listVersion = 1

// head is the first line of a list.
type head struct {
	Version int       `json:"version"`
	Root    string    `json:"root"`
	Run     string    `json:"run"`
	Begun   time.Time `json:"begun"`   // when the process first had something of the run to list
	Renewed time.Time `json:"renewed"` // when this list was written
}

// A List is one object.
type List struct {
	Info    layout.Info
	ID      layout.RunID
	Begun   time.Time
	Renewed time.Time
	Members []refgraph.PathID
}

// A Generation is what one run pushed and relied upon, of all its lists.
type Generation struct {
	ID      layout.RunID
	Begun   time.Time // of the first list
	Renewed time.Time // of the last
	Lists   []List
}

// listKey is where a list is.
func listKey(id layout.RunID, list string) layout.Key {
	return layout.Key(layout.RootsPrefix + id.Root + "/@" + id.Run + "/" + list)
}

// parseKey reads listKey.
func parseKey(key layout.Key) (layout.RunID, error) {
	rest, ours := strings.CutPrefix(string(key), layout.RootsPrefix)
	name, rest, ok := strings.Cut(rest, "/@")
	run, list, more := strings.Cut(rest, "/")
	if !ours || !ok || !more || list == "" || strings.Contains(list, "/") {
		return layout.RunID{}, fmt.Errorf("%s is not the key of a list of a run", key)
	}
	return layout.MakeRunID(name, run)
}

// encode writes a list.
func encode(h head, members []refgraph.PathID) ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(append(text, '\n'))
	for _, id := range members {
		b.WriteString(id.Hash())
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}

// parse reads a list. It is an error if the list was cut off, or was written by a
// later version: what it keeps is not known.
func parse(text []byte) (h head, members []refgraph.PathID, err error) {
	if !bytes.HasSuffix(text, []byte("\n")) {
		return h, nil, errors.New("its end is missing")
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 4<<10)
	if !lines.Scan() {
		return h, nil, errors.New("it is empty")
	}
	d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
	if err := d.Decode(&h); err != nil {
		return h, nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return h, nil, errors.New("there is something behind the head")
	}
	if h.Version != listVersion {
		return h, nil, fmt.Errorf("it has version %d, and %d is known", h.Version, listVersion)
	}
	if _, err := layout.MakeRunID(h.Root, h.Run); err != nil {
		return h, nil, err
	}
	for lines.Scan() {
		key := layout.NarInfoKeyOf(lines.Text())
		if key.PathHash() != lines.Text() {
			return h, nil, fmt.Errorf("%.60q is not the hash of a store path", lines.Text())
		}
		members = append(members, refgraph.PackPath(lines.Text()))
	}
	return h, members, lines.Err()
}

// An Error says that a list is there and makes no sense.
type Error struct {
	Key layout.Key
	Err error
}

func (e *Error) Error() string { return fmt.Sprintf("read %s: %v", e.Key, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// Infos lists the lists of a tree.
func Infos(ctx context.Context, t layout.Lister) ([]layout.Info, error) {
	var infos []layout.Info
	for info, err := range t.List(ctx, layout.RootsPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the roots: %w", err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// ReadList reads a list. The error is fs.ErrNotExist if it has gone.
func ReadList(ctx context.Context, t layout.Reader, info layout.Info) (List, error) {
	id, err := parseKey(info.Key)
	if err != nil {
		return List{}, &Error{info.Key, err}
	}
	text, info, err := layout.ReadVersion(ctx, t, info.Key)
	if errors.Is(err, layout.ErrTooLarge) {
		return List{}, &Error{info.Key, err}
	}
	if err != nil {
		return List{}, err
	}
	h, members, err := parse(text)
	if err == nil && (h.Root != id.Root || h.Run != id.Run) {
		err = fmt.Errorf("it is a list of %s@%s", h.Root, h.Run)
	}
	if err != nil {
		return List{}, &Error{info.Key, err}
	}
	return List{info, id, h.Begun, h.Renewed, members}, nil
}

// Read returns the generations of a tree: by the names of their roots, the newest of
// each first. A list that cannot be read is an error: what it keeps is not known. Among
// says which members are of interest, nil for all: a client may have listed millions of
// paths that are nowhere.
func Read(ctx context.Context, t layout.Lister, among func(refgraph.PathID) bool) ([]Generation, error) {
	infos, err := Infos(ctx, t)
	if err != nil {
		return nil, err
	}
	at := map[layout.RunID]int{}
	var all []Generation
	for _, info := range infos {
		l, err := ReadList(ctx, t, info)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		if among != nil {
			l.Members = slices.Clone(slices.DeleteFunc(l.Members, func(id refgraph.PathID) bool { return !among(id) }))
		}
		i, known := at[l.ID]
		if !known {
			i = len(all)
			at[l.ID] = i
			all = append(all, Generation{ID: l.ID, Begun: l.Begun})
		}
		g := &all[i]
		g.Lists = append(g.Lists, l)
		if l.Begun.Before(g.Begun) {
			g.Begun = l.Begun
		}
		if l.Renewed.After(g.Renewed) {
			g.Renewed = l.Renewed
		}
	}
	slices.SortFunc(all, func(a, b Generation) int {
		if c := strings.Compare(a.ID.Root, b.ID.Root); c != 0 {
			return c
		}
		if c := b.Begun.Compare(a.Begun); c != 0 {
			return c
		}
		return strings.Compare(b.ID.Run, a.ID.Run)
	})
	return all, nil
}
