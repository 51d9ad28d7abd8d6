package gc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

func historyKey(name string) layout.Key { return layout.Key(layout.PinHistoryPrefix + name) }

// A Generation is what a pin named at one time.
type Generation struct {
	Number int                `json:"number"` // counted from 1, and never used again
	Time   time.Time          `json:"time"`
	Until  *time.Time         `json:"until,omitempty"` // from when on it keeps nothing
	Paths  []layout.StorePath `json:"paths"`
	Note   string             `json:"note,omitempty"`
}

// A Pin keeps paths, and all that they refer to, in a tree. All its generations
// do, but for those that its rules let go.
type Pin struct {
	Name string `json:"-"`
	// Last is how many generations are kept; 0 for all.
	Last int `json:"keepLast,omitempty"`
	// Within is for how many seconds a generation is kept that is not the newest;
	// 0 for ever.
	Within      int64        `json:"keepWithin,omitempty"`
	Generations []Generation `json:"generations"` // the newest first
}

// Kept returns the generations that still keep their paths at a moment.
func (p *Pin) Kept(now time.Time) []Generation {
	var kept []Generation
	for i, g := range p.Generations {
		switch {
		case g.Until != nil && !now.Before(*g.Until):
		case i == 0:
			kept = append(kept, g)
		case p.Last > 0 && i >= p.Last:
		// A generation is in use until the next one takes its place.
		case p.Within > 0 && now.Sub(p.Generations[i-1].Time) > time.Duration(p.Within)*time.Second:
		default:
			kept = append(kept, g)
		}
	}
	return kept
}

// MaxGenerations is how many generations a pin may have.
const MaxGenerations = 1000

// ErrTooManyGenerations says that a pin has no room for another generation: its rules
// let none go.
var ErrTooManyGenerations = fmt.Errorf("the pin has %d generations, and its rules let none of them go", MaxGenerations)

// ErrNoPin says that there is no pin, or no generation, of that name.
var ErrNoPin = errors.New("no such pin")

// A PinError says that a pin is there and makes no sense.
type PinError struct {
	Name string
	Err  error
}

func (e *PinError) Error() string { return fmt.Sprintf("read the pin %s: %v", e.Name, e.Err) }
func (e *PinError) Unwrap() error { return e.Err }

// ReadPins returns all pins of a tree, in the order of their names. A pin
// that cannot be read is an error: what it keeps is not known. A pin that has
// come from another tree, in a mirror, has its newest generation alone.
func ReadPins(ctx context.Context, t layout.Lister) ([]Pin, error) {
	pins, err := readHistories(ctx, t)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, pin := range pins {
		known[pin.Name] = true
	}
	for info, err := range t.List(ctx, layout.PinsFolder) {
		if err != nil {
			return nil, fmt.Errorf("list the pins: %w", err)
		}
		name := strings.TrimPrefix(string(info.Key), layout.PinsFolder)
		if info.Key.Kind() != layout.KindPin || known[name] {
			continue
		}
		text, err := layout.ReadAll(ctx, t, info.Key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		pin, err := parsePublicPin(name, string(text))
		if err != nil {
			return nil, &PinError{name, err}
		}
		pin.Generations[0].Time = info.ModTime
		pins = append(pins, pin)
	}
	slices.SortFunc(pins, func(a, b Pin) int { return strings.Compare(a.Name, b.Name) })
	return pins, nil
}

// parsePublicPin reads the public part of a pin: a store path on each line.
func parsePublicPin(name, text string) (Pin, error) {
	g := Generation{Number: 1}
	for line := range strings.Lines(text) {
		p, err := layout.ParseStorePath(path.Base(strings.TrimSuffix(line, "\n")))
		if err != nil {
			return Pin{}, err
		}
		g.Paths = append(g.Paths, p)
	}
	return Pin{Name: name, Generations: []Generation{g}}, nil
}

// readHistories returns the pins that were made in this tree.
func readHistories(ctx context.Context, t layout.Lister) ([]Pin, error) {
	var pins []Pin
	for info, err := range t.List(ctx, layout.PinHistoryPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the pins: %w", err)
		}
		name := strings.TrimPrefix(string(info.Key), layout.PinHistoryPrefix)
		text, err := layout.ReadAll(ctx, t, info.Key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		pin, err := parsePin(name, text)
		if err != nil {
			return nil, &PinError{name, err}
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

func parsePin(name string, text []byte) (Pin, error) {
	pin := Pin{Name: name}
	if err := layout.CheckPinName(name); err != nil {
		return pin, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // a rule of a later version may keep what this one does not know of
	if err := d.Decode(&pin); err != nil {
		return pin, err
	}
	if len(pin.Generations) == 0 || pin.Last < 0 || pin.Within < 0 {
		return pin, errors.New("it has no generations, or impossible rules")
	}
	for i, g := range pin.Generations {
		if i > 0 && g.Number >= pin.Generations[i-1].Number || g.Number < 1 {
			return pin, errors.New("its generations are out of order")
		}
		for _, p := range g.Paths {
			if _, err := layout.ParseStorePath(string(p)); err != nil {
				return pin, err
			}
		}
	}
	return pin, nil
}

// A PinChange is what Set does to a pin.
type PinChange struct {
	Name   string
	Paths  []layout.StorePath
	Note   string
	Until  *time.Time     // of the new generation
	Last   *int           // nil: as it was
	Within *time.Duration // likewise
}

// A MissingPathError says that a path is not in the tree and cannot be pinned.
type MissingPathError struct{ Path layout.StorePath }

func (e *MissingPathError) Error() string { return fmt.Sprintf("%s is not in the cache", e.Path) }

// Set gives a pin a new generation, and makes the pin if there is none. It
// publishes like any writer: what it names is there, and stays from then on.
func Set(ctx context.Context, t layout.Tree, c PinChange) (pin Pin, err error) {
	if err := layout.CheckPinName(c.Name); err != nil {
		return pin, err
	}
	if err := apart(ctx, t, c.Name); err != nil {
		return pin, err
	}
	err = editPin(ctx, t, c.Name, c.Paths, func(have *Pin) (*Pin, error) {
		if have == nil {
			if have, err = arrived(ctx, t, c.Name); err != nil {
				return nil, err
			}
		}
		for _, p := range c.Paths {
			if _, there, err := layout.Lookup(ctx, t, layout.NarInfoKey(p)); err != nil {
				return nil, err
			} else if !there {
				return nil, &MissingPathError{p}
			}
		}
		next := Pin{Name: c.Name}
		if have != nil {
			next = *have
		}
		if c.Last != nil {
			next.Last = *c.Last
		}
		if c.Within != nil {
			next.Within = int64(*c.Within / time.Second)
		}
		g := Generation{Number: 1, Time: time.Now().UTC().Truncate(time.Second), Paths: c.Paths, Note: c.Note, Until: c.Until}
		if len(next.Generations) > 0 {
			g.Number = next.Generations[0].Number + 1
		}
		next.Generations = append([]Generation{g}, next.Generations...)
		next.Generations = next.Kept(g.Time)
		if len(next.Generations) > MaxGenerations {
			return nil, ErrTooManyGenerations
		}
		if len(next.Generations) == 0 || next.Generations[0].Number != g.Number { // until a moment that is over
			return nil, fmt.Errorf("the generation would keep nothing: %s is over", c.Until.Format(time.DateTime))
		}
		pin = next
		return &next, nil
	})
	return pin, err
}

// arrived returns a pin that has come from another tree, nil if there is none.
func arrived(ctx context.Context, t layout.Tree, name string) (*Pin, error) {
	text, err := layout.ReadAll(ctx, t, layout.PinKey(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	pin, err := parsePublicPin(name, string(text))
	if err != nil {
		return nil, &PinError{name, err}
	}
	info, err := t.Stat(ctx, layout.PinKey(name))
	pin.Generations[0].Time = info.ModTime.UTC().Truncate(time.Second)
	return &pin, err
}

// apart refuses a name that is a folder of others, or in one of them: in a
// directory both cannot be.
func apart(ctx context.Context, t layout.Tree, name string) error {
	for info, err := range t.List(ctx, layout.PinHistoryPrefix) {
		if err != nil {
			return fmt.Errorf("list the pins: %w", err)
		}
		other := strings.TrimPrefix(string(info.Key), layout.PinHistoryPrefix)
		if strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/") {
			return fmt.Errorf("there is a pin %s, so that there can be none of the name %s", other, name)
		}
	}
	return nil
}

// RemovePin removes a pin, or one of its generations if number is not 0.
func RemovePin(ctx context.Context, t layout.Tree, name string, number int) error {
	return editPin(ctx, t, name, nil, func(have *Pin) (*Pin, error) {
		if have == nil {
			var err error
			if have, err = arrived(ctx, t, name); err != nil {
				return nil, err
			}
		}
		if have == nil {
			return nil, ErrNoPin
		}
		if number == 0 {
			return &Pin{Name: name}, nil
		}
		i := slices.IndexFunc(have.Generations, func(g Generation) bool { return g.Number == number })
		if i < 0 {
			return nil, ErrNoPin
		}
		next := *have
		next.Generations = slices.Delete(slices.Clone(have.Generations), i, i+1)
		return &next, nil
	})
}

// Rollback makes an older generation of a pin the newest once more, under a new
// number. Number 0 is the one before the newest.
func Rollback(ctx context.Context, t layout.Tree, name string, number int) (pin Pin, err error) {
	pins, err := ReadPins(ctx, t)
	if err != nil {
		return pin, err
	}
	i := slices.IndexFunc(pins, func(p Pin) bool { return p.Name == name })
	if i < 0 {
		return pin, ErrNoPin
	}
	all := pins[i].Generations
	at := 1
	if number != 0 {
		at = slices.IndexFunc(all, func(g Generation) bool { return g.Number == number })
	}
	if at < 0 || at >= len(all) {
		return pin, ErrNoPin
	}
	return Set(ctx, t, PinChange{Name: name, Paths: all[at].Paths, Until: all[at].Until,
		Note: fmt.Sprintf("rolled back to @%d", all[at].Number)})
}

// editPin changes a pin in one step, and then what is public of it. A pin without
// generations is removed. Dying in between leaves the public part behind the
// private one, which alone decides what stays; the next change mends it. The pin will
// name paths that are there.
func editPin(ctx context.Context, t layout.Tree, name string, paths []layout.StorePath, edit func(*Pin) (*Pin, error)) error {
	if err := layout.CheckPinName(name); err != nil {
		return err
	}
	var keys []layout.Key
	for _, p := range paths {
		keys = append(keys, layout.NarInfoKey(p))
	}
	for {
		err := editPinOnce(ctx, t, name, keys, edit)
		if !errors.Is(err, layout.ErrLate) {
			return err
		}
	}
}

func editPinOnce(ctx context.Context, t layout.Tree, name string, keys []layout.Key, edit func(*Pin) (*Pin, error)) error {
	rely, err := layout.Rely(ctx, t, layout.Sight{}, keys...)
	if err != nil {
		return err
	}
	defer rely.Release()
	var next *Pin
	gone := false
	err = layout.Update(rely.Context(ctx), t, historyKey(name), func(text []byte) ([]byte, error) {
		var have *Pin
		if text != nil {
			pin, err := parsePin(name, text)
			if err != nil {
				return nil, &PinError{name, err}
			}
			have = &pin
		}
		var err error
		if next, err = edit(have); err != nil {
			return nil, err
		}
		if gone = len(next.Generations) == 0; gone {
			return nil, nil
		}
		return encode(next)
	})
	if err != nil {
		return err
	}
	if gone {
		// The public part first: a reader of it relies on the private one.
		return layout.DeleteBatch(ctx, t, []layout.Key{layout.PinKey(name)}, []layout.Key{historyKey(name)})
	}
	info, err := layout.ReadCacheInfo(ctx, t)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, p := range next.Generations[0].Paths {
		list.WriteString(p.Abs(info.StoreDir) + "\n")
	}
	return t.Put(ctx, layout.PinKey(name), layout.Bytes([]byte(list.String())), layout.PutOptions{})
}

// encode writes a private object of ours.
func encode(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, err
	}
	if int64(len(text)) >= layout.KindPrivate.MaxBytes() {
		return nil, fmt.Errorf("%w: %d bytes", layout.ErrTooLarge, len(text))
	}
	return append(text, '\n'), nil
}
