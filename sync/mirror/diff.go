package mirror

import (
	"fmt"
	"iter"

	"github.com/nixstatic/nixstatic/layout"
)

// A listing is what layout.Tree's List returns.
type listing = iter.Seq2[layout.Info, error]

// A pair is a key with what the source and the destination have at it.
type pair struct {
	key          layout.Key
	src, dst     layout.Info
	inSrc, inDst bool
}

// diff merges two listings into the pairs of all keys that are mirrored, in order. It
// holds one object of each listing, however long they are. A listing that is
// out of order would make present objects look absent, so it is an error.
func diff(src, dst listing) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		s, stopSource := newFeed("source", src)
		defer stopSource()
		d, stopDest := newFeed("destination", dst)
		defer stopDest()
		for {
			if err := s.fill(); err != nil {
				yield(pair{}, err)
				return
			}
			if err := d.fill(); err != nil {
				yield(pair{}, err)
				return
			}
			p := pair{}
			switch {
			case !s.full && !d.full:
				return
			case s.full && (!d.full || s.head.Key <= d.head.Key):
				p.key = s.head.Key
			default:
				p.key = d.head.Key
			}
			if s.full && s.head.Key == p.key {
				p.src, p.inSrc, s.full = s.head, true, false
			}
			if d.full && d.head.Key == p.key {
				p.dst, p.inDst, d.full = d.head, true, false
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// A feed is a listing that waits with its next public object in head.
type feed struct {
	name string
	next func() (layout.Info, error, bool)
	head layout.Info
	full bool // head waits
	last layout.Key
}

func newFeed(name string, l listing) (*feed, func()) {
	next, stop := iter.Pull2(l)
	return &feed{name: name, next: next}, stop
}

func (f *feed) fill() error {
	for !f.full {
		info, err, ok := f.next()
		if !ok {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list the %s: %w", f.name, err)
		}
		if info.Key <= f.last {
			return fmt.Errorf("list the %s: %s comes after %s", f.name, info.Key, f.last)
		}
		f.last = info.Key
		f.head, f.full = info, info.Key.Kind().Public() || isProvision(info.Key)
	}
	return nil
}
