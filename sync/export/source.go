package export

import (
	"context"
	"io"

	"github.com/nixstatic/nixstatic/layout"
)

// A Source has store paths to give.
type Source interface {
	// StoreDir is the store directory of all its paths.
	StoreDir() string
	// Infos returns the records of paths, in the same order. The error wraps
	// fs.ErrNotExist and names the path if one is known not to be there.
	Infos(ctx context.Context, paths []layout.StorePath) ([]layout.PathInfo, error)
	// WriteNAR writes the uncompressed NAR of p to w.
	WriteNAR(ctx context.Context, p layout.StorePath, w io.Writer) error
}

// A FileSource has NARs that are compressed already.
type FileSource interface {
	Source
	// File opens the compressed NAR of p as it is stored, and tells its record.
	File(ctx context.Context, p layout.StorePath) (io.ReadCloser, *layout.NarInfo, error)
}

// A LogSource has build logs.
type LogSource interface {
	// Log opens the plain text of a derivation's build log; fs.ErrNotExist if
	// there is none.
	Log(ctx context.Context, drv layout.StorePath) (io.ReadCloser, error)
}

// A RealisationSource knows which derivation outputs a content-addressed path
// realises.
type RealisationSource interface {
	Realisations(ctx context.Context, info layout.PathInfo) ([]layout.Realisation, error)
}
