package nixstore

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A Trust is what a daemon thinks of the user who asks.
type Trust int

const (
	TrustUnknown Trust = iota // the daemon is older than Nix 2.15, and does not say
	Trusted                   // its settings are taken over
	NotTrusted                // caches and keys in the user's own settings count only if the daemon has them as well
)

// An Access is how the programs of this user get at the store of the machine.
type Access struct {
	Daemon bool   // through a daemon; else they open the store themselves
	Nix    string // version of the daemon's Nix, "" if it does not say
	Trust  Trust
}

// FindAccess finds out which way a Nix of this user takes, as Nix does it: by
// NIX_REMOTE, then directly if the state directory can be written, then through the
// daemon if its socket is there. An error says that there is a daemon, and that it
// does not answer.
func FindAccess(ctx context.Context) (Access, error) {
	store := os.Getenv("NIX_REMOTE")
	switch {
	case store == "" || store == "auto":
		state := os.Getenv("NIX_STATE_DIR")
		if state == "" {
			state = "/nix/var/nix"
		}
		if unix.Access(state, unix.R_OK|unix.W_OK) == nil {
			return Access{Trust: Trusted}, nil
		}
		l, err := locate("daemon", os.Getenv)
		if err != nil {
			return Access{}, err
		}
		if _, err := os.Stat(l.socket); err != nil {
			return Access{Trust: Trusted}, nil
		}
		store = "daemon"
	case store != "daemon" && !strings.HasPrefix(store, "daemon?") && !strings.HasPrefix(store, "unix://"):
		return Access{Trust: Trusted}, nil
	}
	l, err := locate(store, os.Getenv)
	if err != nil {
		return Access{Daemon: true}, fmt.Errorf("ask the Nix daemon: %w", err)
	}
	t, err := l.dial(ctx, "")
	if err != nil {
		return Access{Daemon: true}, err
	}
	c, err := handshake(ctx, t)
	if err != nil {
		return Access{Daemon: true}, err
	}
	defer c.Close()
	return Access{Daemon: true, Nix: c.nix, Trust: c.trust}, nil
}
