package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// A Copier can put an object to another key of the same tree without reading it.
type Copier interface {
	// CopyObject has the bytes of the version that a Stat described at another key as
	// well, durably. The error is fs.ErrExist if that is taken, ErrChanged if the
	// object has another version by now, and errors.ErrUnsupported if the tree
	// cannot do so with this one.
	CopyObject(ctx context.Context, from Info, to Key) error
}

// Copy puts an object to another key of the same tree, see Copier. Without that
// ability the object is read and put.
func Copy(ctx context.Context, t Tree, from Info, to Key) error {
	if c, ok := Ability[Copier](t); ok {
		if err := c.CopyObject(ctx, from, to); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	body, info, err := t.Get(ctx, from.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	if info.ETag != from.ETag {
		return keyError("copy", from.Key, ErrChanged)
	}
	file, err := SpoolFor(t, "").Create()
	if err != nil {
		return err
	}
	defer file.Discard()
	if _, err := io.Copy(file, &contextReader{ctx, body}); err != nil {
		return fmt.Errorf("read %s: %w", from.Key, err)
	}
	if err := file.Done(); err != nil {
		return err
	}
	return t.Put(ctx, to, file, PutOptions{IfAbsent: true})
}
