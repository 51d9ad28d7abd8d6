package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// updates is how often Update begins anew before it gives up: each time another
// writer has got through.
const updates = 100

// Update replaces an object in one atomic step, however many writers do so at
// once. The function change is given the present bytes, nil if there are none,
// and returns the new ones. It is called again if another writer was faster. An
// object that is too large for its kind counts as an empty one, which no parser
// accepts either. More bytes than such an object may have are not written: no
// reader would take them. If change returns nil, the object stays and is flushed:
// the caller is about to rely on it.
func Update(ctx context.Context, t Tree, key Key, change func(have []byte) ([]byte, error)) error {
	for range updates {
		opts := PutOptions{IfAbsent: true}
		have, info, err := ReadVersion(ctx, t, key)
		if errors.Is(err, ErrTooLarge) {
			have, err = []byte{}, nil
		}
		switch {
		case err == nil && info.ETag == "":
			return fmt.Errorf("update %s: the cache does not tell one version from another", key)
		case err == nil:
			opts = PutOptions{IfMatch: info.ETag}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		next, err := change(have)
		if err != nil {
			return err
		}
		if next == nil {
			return Flush(ctx, t, key)
		}
		if most := key.Kind().MaxBytes(); int64(len(next)) > most {
			return fmt.Errorf("update %s: %w: it would have %d bytes, more than %d", key, ErrTooLarge, len(next), most)
		}
		err = t.Put(ctx, key, Bytes(next), opts)
		if !errors.Is(err, ErrChanged) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("update %s: %w, %d times in a row", key, ErrChanged, updates)
}

// UpdateNarInfo changes the record of p in one atomic step, however many do so
// at once: update is given the record, nil if there is none, and returns the
// new one, or nil to leave things as they are. It is called again if someone
// else was faster. A record that cannot be read counts as none.
func UpdateNarInfo(ctx context.Context, t Tree, p StorePath, storeDir string, update func(*NarInfo) (*NarInfo, error)) error {
	return Update(ctx, t, NarInfoKey(p), func(text []byte) ([]byte, error) {
		have, err := ParseNarInfo(text, storeDir)
		if err != nil || have.Path.Hash() != p.Hash() {
			have = nil
		}
		next, err := update(have)
		if err != nil || next == nil {
			return nil, err
		}
		return next.Marshal(storeDir), nil
	})
}
