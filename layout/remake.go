package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Remake writes the listing of a path anew, from its NAR in the tree, and with
// DebugInfo the debug links to the NAR as well. A link that leads to a NAR which is there
// stays, but for those that are known to be wrong, such as one that names no file in
// its NAR. The NAR is checked on the way: one that is not what its record says
// is an error, and changes nothing.
func (w *Writer) Remake(ctx context.Context, p StorePath, wrong ...Key) error {
	text, record, err := ReadVersion(ctx, w.Tree, NarInfoKey(p))
	if err != nil {
		return err
	}
	n, err := ParseNarInfo(text, w.StoreDir)
	if err != nil {
		return fmt.Errorf("read %s: %w", record.Key, err)
	}
	info, err := FindNAR(ctx, w.Tree, n)
	if err != nil {
		return err
	}
	body, _, err := w.Tree.Get(ctx, info.Key)
	if err != nil {
		return err
	}
	defer body.Close()
	packed, err := w.Keep(ctx, &n.PathInfo, n.Compression, body)
	if err != nil {
		return fmt.Errorf("read %s: %w", info.Key, err)
	}
	defer packed.Discard()
	rely, err := Rely(ctx, w.Tree, Sight{})
	if err != nil {
		return err
	}
	defer rely.Release()
	if now, err := w.Tree.Stat(ctx, record.Key); err != nil {
		return err // it was withdrawn meanwhile: a listing would be left
	} else if now.ETag != record.ETag {
		return keyError("remake the listing beside", record.Key, ErrChanged)
	}
	if err := w.Tree.Put(ctx, ListingKey(p), packed.listing, PutOptions{}); err != nil || !w.DebugInfo {
		return err
	}
	for _, o := range debugObjects(packed.debug, info.Key) {
		if !slices.Contains(wrong, o.Key) {
			if good, err := w.leads(ctx, o.Key); err != nil {
				return err
			} else if good {
				continue
			}
		}
		if err := w.Tree.Put(ctx, o.Key, o.Body, PutOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// leads reports whether a debug link is there, and the NAR that it leads to.
func (w *Writer) leads(ctx context.Context, key Key) (bool, error) {
	text, err := ReadAll(ctx, w.Tree, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, nar, err := ParseDebugLink(key, text)
	if err != nil {
		return false, nil
	}
	_, there, err := Lookup(ctx, w.Tree, nar)
	return there, err
}
