package inbox

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// ForNix shows the tree as a Nix that uploads has to see it: only what readers
// see, since it takes an object that is there for one that it need not send; and
// for the same reason without NARs that are known to be damaged.
func (b *Inbox) ForNix() layout.Reader { return forNix{b} }

type forNix struct{ b *Inbox }

func (f forNix) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if !key.Kind().Public() {
		return nil, layout.Info{}, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	body, info, err := f.b.writer.Tree.Get(ctx, key)
	if err == nil && f.b.damaged.has(info) {
		body.Close()
		return nil, layout.Info{}, fmt.Errorf("get %s: damaged: %w", key, fs.ErrNotExist)
	}
	return body, info, err
}

func (f forNix) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if !key.Kind().Public() {
		return layout.Info{}, fmt.Errorf("stat %s: %w", key, fs.ErrNotExist)
	}
	info, err := f.b.writer.Tree.Stat(ctx, key)
	if err == nil && f.b.damaged.has(info) {
		return layout.Info{}, fmt.Errorf("stat %s: damaged: %w", key, fs.ErrNotExist)
	}
	return info, err
}

// maxDamaged bounds how many damaged NARs are remembered.
const maxDamaged = 1000

// damaged remembers the NARs whose bytes were found to be others than their
// names say, so that they are not read again to find the same, and so that they
// are sent again.
type damaged struct {
	mu   sync.Mutex
	seen map[layout.Key]layout.Info
}

func (d *damaged) add(info layout.Info) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[layout.Key]layout.Info{}
	}
	for key := range d.seen {
		if len(d.seen) < maxDamaged {
			break
		}
		delete(d.seen, key)
	}
	d.seen[info.Key] = info
}

// has reports whether that very object was found damaged.
func (d *damaged) has(info layout.Info) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen, ok := d.seen[info.Key]
	return ok && sameObject(seen, info)
}
