package seek

import (
	"context"
	"fmt"

	"github.com/nixstatic/nixstatic/layout"
)

// Record reads the record of the path with that hash. The error is fs.ErrNotExist if
// the cache is known not to have it.
func Record(ctx context.Context, r layout.Reader, hash, storeDir string) (*layout.NarInfo, error) {
	key := layout.NarInfoKeyOf(hash)
	text, err := layout.ReadAll(ctx, r, key)
	if err != nil {
		return nil, err
	}
	return parseRecord(key, text, storeDir)
}

func parseRecord(key layout.Key, text []byte, storeDir string) (*layout.NarInfo, error) {
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if n.Path.Hash() != key.PathHash() {
		return nil, fmt.Errorf("read %s: it is the narinfo of %s", key, n.Path)
	}
	return n, nil
}
