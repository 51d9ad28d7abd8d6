package inbox

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A few bytes of a client may make a server read a record of megabytes, which is in the
// tree: the question whether a path with very many references is there, a narinfo, a
// realisation or a listing that is to be compared with it. Clients share the memory for
// that.
const (
	storedMemory = 48 << 20
	// storedCost is what a byte of a record costs, as text, parsed, and put together
	// anew.
	storedCost = 3
	// smallStored is what costs little more than the request.
	smallStored = 64 << 10
)

// readStored returns a narinfo in the tree. The room for it is to be released. A client
// has that of one at a time: who waits for a second holding the first may wait for
// itself.
func (b *Inbox) readStored(ctx context.Context, key layout.Key) (text []byte, info layout.Info, room *share.Part, err error) {
	text, info, err = layout.ReadInTurn(ctx, b.writer.Tree, key, func(most int64) (err error) {
		if most > smallStored {
			room, err = roomIn(ctx, b.stored, storedCost*most)
		}
		return err
	})
	if err != nil {
		room.Release()
		room = nil
	}
	return text, info, room, err
}

// recordAt returns the narinfo in the tree, nil if there is none that can be
// read: such a one leads nowhere and is written anew. The room for it is to be released.
func (b *Inbox) recordAt(ctx context.Context, key layout.Key) (*layout.NarInfo, *share.Part, error) {
	text, _, room, err := b.readStored(ctx, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return b.parseRecord(key, text), room, nil
}

// parseRecord returns nil for a narinfo that no client could use.
func (b *Inbox) parseRecord(key layout.Key, text []byte) *layout.NarInfo {
	n, err := layout.ParseNarInfo(text, b.writer.StoreDir)
	if err != nil || n.Path.Hash() != key.PathHash() {
		return nil
	}
	return n
}
