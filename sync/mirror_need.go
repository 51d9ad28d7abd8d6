package sync

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
)

// errWithdrawn says that an object went from the source after it was listed.
var errWithdrawn = fmt.Errorf("withdrawn meanwhile: %w", fs.ErrNotExist)

// needNAR returns nil if the destination has the NAR at key nar, which the
// object at key of leads to (I2).
func (p *pass) needNAR(ctx context.Context, of, nar layout.Key) error {
	id, ok := packNAR(nar)
	if !ok {
		return &contentError{fmt.Errorf("it leads to %s, whose name holds no hash", nar)}
	}
	if findNAR(p.nars, id) >= 0 {
		return nil
	}
	i, copied := slices.BinarySearchFunc(p.newNARs, id, func(n narCopy, id narID) int { return bytes.Compare(n.id[:], id[:]) })
	switch {
	case copied && p.newNARs[i].done:
		return nil
	case copied && p.newNARs[i].bad:
		return &contentError{fmt.Errorf("it leads to %s, which was left out", nar)}
	case !copied && p.keys != nil:
		if _, there, err := have(ctx, p.Dest, nar); err != nil || there {
			return err
		}
	}
	return p.missing(ctx, of, nar, fmt.Sprintf("it leads to %s", nar))
}

// missing says why what the object at key of needs is not at the destination:
// because the source has changed, or because the source is wrong.
func (p *pass) missing(ctx context.Context, of, needed layout.Key, what string) error {
	if _, there, err := have(ctx, p.Source, needed); err != nil {
		return err
	} else if there {
		return notYetf("%s, which is not at the destination yet", what)
	}
	if _, there, err := have(ctx, p.Source, of); err != nil {
		return err
	} else if !there {
		return errWithdrawn
	}
	return &contentError{fmt.Errorf("%s, which the source does not have", what)}
}
