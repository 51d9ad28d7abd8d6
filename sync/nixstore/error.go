package nixstore

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrNoDaemon says that no Nix daemon answers, and none can be started.
	ErrNoDaemon = errors.New("find a Nix daemon")
	// ErrNotValid says that the store does not have a path.
	ErrNotValid = fmt.Errorf("not valid in this store: %w", fs.ErrNotExist)
	// ErrNoFile says that what was named does not exist.
	ErrNoFile = errors.New("no file")
	// ErrOutside says that a file is in no store path.
	ErrOutside = errors.New("not in the store")
)
