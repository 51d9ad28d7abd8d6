package nixstore

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// Options say which store to open. The zero value is the machine's store.
type Options struct {
	// Store names the store as Nix's --store does: a directory with nix/store
	// below, "local?root=DIR", "daemon", "unix://SOCKET". "" means
	// $NIX_REMOTE, and if that is empty too, the machine's store: by itself where
	// its state may be written, else through the daemon's socket, or through a daemon
	// spawned for the purpose where there is no socket.
	Store string
	// Daemon is the program to spawn where there is no socket; "" means
	// nix-daemon on PATH, and that it is needed only if the state of the store cannot
	// be read without one.
	Daemon string
	// Lazy leaves the connection to the first question: where all is known
	// already, none is asked.
	Lazy bool
}

// A Store is an open Nix store. All methods are safe for concurrent use.
type Store struct {
	location
	// Roots live as long as their connection does, so that one does nothing that
	// might end it: what a daemon may trip over goes through the other.
	roots *link
	query *link
	// direct goes without a daemon as long as it can.
	direct *direct

	mu   sync.Mutex
	held map[layout.StorePath]bool // paths with a temporary root

	realised realised // what was found out about derivations
}

// Open connects to the daemon of a store. It honours NIX_REMOTE, NIX_STORE_DIR,
// NIX_STATE_DIR, NIX_LOG_DIR and NIX_DAEMON_SOCKET_PATH as Nix does.
func Open(ctx context.Context, o Options) (*Store, error) {
	l, err := locate(o.Store, os.Getenv)
	if err != nil {
		return nil, fmt.Errorf("open %w", err)
	}
	s := &Store{location: l, held: map[layout.StorePath]bool{}, realised: realised{
		modulo: modulo{storeDir: l.storeDir, realDir: l.realDir, hashes: map[layout.StorePath]map[string]string{}},
		open:   map[layout.StorePath][]openOutput{},
		byID:   map[layout.DrvOutput]*layout.Realisation{},
	}}
	s.direct = newDirect(l)
	if o.Daemon != "" {
		s.direct.giveUp()
	}
	connect := func(ctx context.Context) (*conn, error) {
		t, err := s.dial(ctx, o.Daemon)
		if err != nil {
			return nil, err
		}
		return handshake(ctx, t)
	}
	s.query = newLink(connect)
	s.roots = newLink(func(ctx context.Context) (*conn, error) {
		c, err := connect(ctx)
		if err != nil {
			return nil, err
		}
		return c, s.holdAgain(ctx, c)
	})
	if o.Lazy || s.direct.open(ctx) {
		return s, nil
	}
	if _, _, err := s.roots.current(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("open %s: %w", s.name, err)
	}
	return s, nil
}

// Close gives up the connections, and what was held without one, and with them the roots. A call under way
// fails.
func (s *Store) Close() error {
	s.roots.close()
	s.query.close()
	s.direct.close()
	return nil
}

// StoreDir returns the directory that store paths begin with, such as
// /nix/store. A store with a root of its own has its files elsewhere.
func (s *Store) StoreDir() string { return s.storeDir }

// real returns where the files of a path are.
func (s *Store) real(p layout.StorePath) string { return filepath.Join(s.realDir, string(p)) }

// WriteNAR writes the NAR of a store path to w. The path is held from before its
// first byte is read, whatever became of earlier roots; one that Infos has not
// answered for is asked about first, so that it is valid and complete.
func (s *Store) WriteNAR(ctx context.Context, p layout.StorePath, w io.Writer) error {
	var err error
	switch {
	case s.holds(p) && s.direct.holds():
	case s.holds(p):
		err = s.holdOn(ctx, p)
	default:
		_, err = s.Infos(ctx, []layout.StorePath{p})
	}
	if err != nil {
		return err
	}
	if err := nar.Dump(ctx, w, s.real(p)); err != nil {
		return fmt.Errorf("read %s: %w", p.Abs(s.storeDir), err)
	}
	return nil
}
