package nixstore

import (
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nixstatic/nixstatic/layout"
)

// Log opens the build log of a derivation, decompressed. A derivation that was
// not built here, or whose log was removed, is fs.ErrNotExist.
//
// Nix writes <log>/drvs/<first two>/<rest of the base name>, with ".bz2" unless
// compress-build-log is off; very old logs lie in <log>/drvs itself. Source:
// LocalFSStore::getBuildLogExact.
func (s *Store) Log(ctx context.Context, drv layout.StorePath) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	base := string(drv)
	for _, plain := range []string{
		filepath.Join(s.logDir, "drvs", base[:2], base[2:]),
		filepath.Join(s.logDir, "drvs", base),
	} {
		f, err := os.Open(plain)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			if f, err = os.Open(plain + ".bz2"); err == nil {
				return bzip2Log{bzip2.NewReader(f), f}, nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("open log of %s: %w", drv, err)
		}
	}
	return nil, fmt.Errorf("open log of %s: none in %s: %w", drv, s.logDir, fs.ErrNotExist)
}

type bzip2Log struct {
	io.Reader
	io.Closer
}
