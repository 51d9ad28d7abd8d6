package nixstore

import (
	"context"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"golang.org/x/sys/unix"
)

// A direct reads the database of a store and holds paths without a daemon, as a Nix does
// that may write the state directory. The first trouble of any kind ends that, and
// all further questions are for the daemon: what is out of the ordinary (a garbage
// collection under way, a database that is locked for long or of another form) it knows
// how to deal with.
type direct struct {
	location

	mu    sync.Mutex
	state directState
	db    *database
	roots *tempRoots
}

type directState int

const (
	directUnopened directState = iota
	directOpen
	directOver
)

func newDirect(l location) *direct { return &direct{location: l} }

// open makes ready for the first question, and reports whether a daemon can be spared.
func (d *direct) open(ctx context.Context) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ready(ctx)
}

// ready is open; d.mu is held.
func (d *direct) ready(ctx context.Context) bool {
	if d.state != directUnopened {
		return d.state == directOpen
	}
	d.state = directOver
	if d.stateDir == "" || !d.spawn || unix.Access(d.stateDir, unix.R_OK|unix.W_OK) != nil {
		return false
	}
	db, err := openDatabase(ctx, d.stateDir)
	if err != nil {
		return false
	}
	d.db, d.roots, d.state = db, &tempRoots{stateDir: d.stateDir}, directOpen
	return true
}

// infos is Store.Infos; ok says whether it could be answered.
func (d *direct) infos(ctx context.Context, paths []layout.StorePath) (infos []layout.PathInfo, ok bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ready(ctx) {
		return nil, false, nil
	}
	// Held first: a path that is valid afterwards stays so.
	if err := d.roots.add(d.storeDir, paths); err != nil {
		d.state = directOver
		return nil, false, nil
	}
	infos, absent, err := d.db.infos(ctx, d.storeDir, paths)
	switch {
	case ctx.Err() != nil:
		return nil, true, context.Cause(ctx)
	case err != nil:
		d.state = directOver
		return nil, false, nil
	case absent != "":
		return nil, true, notValid(d.storeDir, absent)
	}
	return infos, true, nil
}

// derivations returns the valid paths that are derivations.
func (d *direct) derivations(ctx context.Context) (texts []string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ready(ctx) {
		return nil, false
	}
	texts, err := d.db.derivations(ctx)
	if err != nil {
		d.state = directOver
		return nil, false
	}
	return texts, true
}

// holds reports whether what infos has answered for is held.
func (d *direct) holds() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state == directOpen
}

func (d *direct) giveUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = directOver
}

// close gives up what is held.
func (d *direct) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = directOver
	if d.db != nil {
		d.db.close()
	}
	if d.roots != nil {
		d.roots.release()
	}
}
