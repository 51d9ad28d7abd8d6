package inbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// ForNix shows the tree as a Nix that uploads has to see it. A Nix does not send
// an object that it is told is there, and sends nothing of a path whose narinfo
// is there. So a NAR that is known to be damaged is absent here, and so is a
// narinfo that cannot be read or whose NAR is gone: the Nix sends them again,
// which mends the tree. Held objects are absent as well, since readers do not see
// them.
func (b *Inbox) ForNix() layout.Reader { return forNix{sound{b}} }

type forNix struct{ sound }

func (f forNix) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if key.Kind() != layout.KindNarInfo {
		body, info, err := f.sound.Get(ctx, key)
		if err == nil {
			if err = f.stays(ctx, info); err != nil {
				body.Close()
			}
		}
		return body, info, err
	}
	text, info, room, err := f.narInfo(ctx, key)
	if err != nil {
		room.Release()
		return nil, info, fmt.Errorf("get %s: %w", key, err)
	}
	return &heldText{*bytes.NewReader(text), room}, info, nil
}

// A heldText is a record in memory, whose room is given back when its reader is done with
// it: a client may take it slowly.
type heldText struct {
	bytes.Reader
	room *share.Part
}

func (t *heldText) Close() error {
	t.room.Release()
	return nil
}

func (f forNix) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if key.Kind() != layout.KindNarInfo {
		info, err := f.sound.Stat(ctx, key)
		if err == nil {
			err = f.stays(ctx, info)
		}
		if err == nil && key.Kind() == layout.KindDebugInfo {
			err = f.linked(ctx, key)
		}
		return info, err
	}
	_, info, room, err := f.narInfo(ctx, key)
	room.Release()
	if err != nil {
		return layout.Info{}, fmt.Errorf("stat %s: %w", key, err)
	}
	return info, nil
}

// stays makes a NAR absent that may be removed before the narinfo comes for which
// the Nix asks: it is sent again, and then is young.
func (f forNix) stays(ctx context.Context, info layout.Info) error {
	if info.Key.Kind() != layout.KindNAR {
		return nil
	}
	lasting, err := layout.Lasting(ctx, f.b.writer.Tree, info)
	if err == nil && !lasting {
		err = fmt.Errorf("stat %s: it is old: %w", info.Key, fs.ErrNotExist)
	}
	return err
}

// linked makes a debug link absent that leads nowhere: a Nix sends none that is there.
func (f forNix) linked(ctx context.Context, key layout.Key) error {
	text, err := layout.ReadAll(ctx, f.b.writer.Tree, key)
	leads := false
	if err == nil {
		leads, err = f.b.linkLeads(ctx, key, text)
	}
	if errors.Is(err, layout.ErrTooLarge) || err == nil && !leads {
		err = fmt.Errorf("stat %s: it leads nowhere: %w", key, fs.ErrNotExist)
	}
	return err
}

// narInfo returns a narinfo that leads to a NAR. The error is fs.ErrNotExist for
// any other. The room for it is to be released, also with an error.
func (f forNix) narInfo(ctx context.Context, key layout.Key) ([]byte, layout.Info, *share.Part, error) {
	text, info, room, n, err := f.useful(ctx, key)
	if err != nil {
		return nil, info, room, err
	}
	// A Nix that learns that the path is there does not send it, and wants it to
	// stay.
	if err := layout.Renew(ctx, f.b.writer.Tree, n.Path); errors.Is(err, layout.ErrRemoved) {
		return nil, info, room, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	} else if err != nil {
		f.b.notRenewed(ctx, n.Path, err)
	}
	info.Size = int64(len(text))
	return text, info, room, nil
}

// useful is narInfo without a promise that the path stays.
func (f forNix) useful(ctx context.Context, key layout.Key) ([]byte, layout.Info, *share.Part, *layout.NarInfo, error) {
	text, info, room, err := f.b.readStored(as(ctx), key)
	if err != nil && !errors.Is(err, layout.ErrTooLarge) {
		return nil, info, room, nil, err
	}
	n := f.b.parseRecord(key, text)
	if n == nil {
		return nil, info, room, nil, fmt.Errorf("damaged: %w", fs.ErrNotExist)
	}
	nar, there, err := f.b.leads(ctx, n)
	if err == nil && !there {
		if nar.Key != "" && n.FileSize != 0 && nar.Size != n.FileSize {
			f.b.damaged.add(nar) // or the record is: the client is to send both
		}
		err = fmt.Errorf("its NAR is gone: %w", fs.ErrNotExist)
	}
	return text, info, room, n, err
}

func (b *Inbox) notRenewed(ctx context.Context, p layout.StorePath, err error) {
	b.log.WarnContext(ctx, "a path that a client asks for cannot be renewed", "path", p, "error", err)
}

// Stored reports which of many store paths ForNix shows. All are looked at before the
// first is renewed, so that the plan of the tree is read once.
func (b *Inbox) Stored(ctx context.Context, hashes []string) ([]bool, error) {
	paths := make([]layout.StorePath, len(hashes))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(statJobs)
	for i, hash := range hashes {
		group.Go(func() error {
			_, _, room, n, err := forNix{sound{b}}.useful(inGroup, layout.NarInfoKeyOf(hash))
			room.Release()
			if err == nil {
				paths[i] = n.Path
			} else if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	stored := make([]bool, len(hashes))
	errs := layout.RenewAll(ctx, b.writer.Tree, slices.DeleteFunc(slices.Clone(paths), func(p layout.StorePath) bool { return p == "" }))
	for i, p := range paths {
		if p == "" {
			continue
		}
		err := errs[0]
		errs = errs[1:]
		if stored[i] = !errors.Is(err, layout.ErrRemoved); stored[i] && err != nil {
			b.notRenewed(ctx, p, err)
		}
	}
	return stored, nil
}

// sound shows the public objects of the tree, without NARs that are known to be
// damaged.
type sound struct{ b *Inbox }

func (s sound) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if !key.Kind().Public() {
		return nil, layout.Info{}, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	body, info, err := s.b.writer.Tree.Get(ctx, key)
	if err == nil && s.b.damaged.has(info) {
		body.Close()
		return nil, layout.Info{}, fmt.Errorf("get %s: damaged: %w", key, fs.ErrNotExist)
	}
	return body, info, err
}

func (s sound) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if !key.Kind().Public() {
		return layout.Info{}, fmt.Errorf("stat %s: %w", key, fs.ErrNotExist)
	}
	info, err := s.b.writer.Tree.Stat(ctx, key)
	if err == nil && s.b.damaged.has(info) {
		return layout.Info{}, fmt.Errorf("stat %s: damaged: %w", key, fs.ErrNotExist)
	}
	return info, err
}

// OpenRange opens a part of what Get opens.
func (s sound) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	if !version.Key.Kind().Public() || s.b.damaged.has(version) {
		return nil, fmt.Errorf("get part of %s: %w", version.Key, fs.ErrNotExist)
	}
	return layout.OpenRange(ctx, s.b.writer.Tree, version, from, to)
}

// Traits are those of the tree.
func (s sound) Traits() layout.Traits { return layout.TraitsOf(s.b.writer.Tree) }

// maxDamaged bounds how many damaged NARs are remembered.
const maxDamaged = 1000

// damaged remembers the NARs whose bytes were found to be others than their
// names say, so that they are not read again to find the same, and so that
// clients send them again.
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

// mended forgets a NAR that was written anew. Its description may be the old
// one: a store that names versions by their bytes does not know that it lost some.
func (d *damaged) mended(nar layout.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, nar)
}

// has reports whether that very object was found damaged.
func (d *damaged) has(info layout.Info) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen, ok := d.seen[info.Key]
	return ok && sameObject(seen, info)
}
