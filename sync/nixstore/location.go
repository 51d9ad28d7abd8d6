package nixstore

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// A location is where a store is and how to talk to its daemon.
type location struct {
	name     string // for messages
	storeDir string // logical: what store paths begin with
	realDir  string // where they are on this machine
	bareDir  string // realDir without symbolic links
	logDir   string
	stateDir string // "" if the daemon alone may be asked

	socket string // to connect to, "" for none
	spawn  bool   // whether a daemon of our own may serve, if the socket does not
	uri    string // what --store of that daemon is
}

// locate reads a store's name the way Nix's --store does, as far as it names a
// store on this machine. An empty name means $NIX_REMOTE, and if that is
// empty too, the machine's store. getenv is os.Getenv but in tests.
func locate(store string, getenv func(string) string) (location, error) {
	env := func(fallback string, names ...string) string {
		for _, name := range names {
			if v := getenv(name); v != "" {
				return filepath.Clean(v)
			}
		}
		return fallback
	}
	l := location{
		storeDir: env(layout.DefaultStoreDir, "NIX_STORE_DIR", "NIX_STORE"),
		logDir:   env("/nix/var/log/nix", "NIX_LOG_DIR"),
	}
	l.realDir = l.storeDir
	state := env("/nix/var/nix", "NIX_STATE_DIR")
	socket := env(state+"/daemon-socket/socket", "NIX_DAEMON_SOCKET_PATH")
	if store == "" {
		store = getenv("NIX_REMOTE")
	}
	l.name = store
	scheme, rest, isURL := strings.Cut(store, "://")
	if !isURL {
		scheme, rest = store, ""
		if base, query, ok := strings.Cut(store, "?"); ok && !strings.Contains(base, "/") {
			scheme, rest = base, "?"+query
		}
	}
	var err error
	switch {
	case store == "" || store == "auto":
		l.name = "the Nix store of this machine"
		// "local" and not nothing: left to itself, a daemon without write access to
		// the machine's store opens another one, of the user's own.
		l.socket, l.spawn, l.uri, l.stateDir = socket, true, "local", state
	case scheme == "daemon":
		l.socket = socket
		err = l.params("", rest)
	case scheme == "unix" && isURL:
		path, query, _ := strings.Cut(rest, "?")
		if l.socket, err = url.PathUnescape(path); err == nil && l.socket == "" {
			l.socket = socket
		}
		if err == nil {
			err = l.params("", "?"+query)
		}
	case scheme == "local":
		root, query, _ := strings.Cut(rest, "?")
		l.spawn, l.stateDir = true, state
		err = l.params(root, "?"+query)
	case !isURL && (strings.Contains(store, "/") || store == "."):
		l.spawn = true
		err = l.root(store)
	default:
		err = errors.New("not a store on this machine: want a directory with nix/store below, local?root=DIR, daemon or unix://SOCKET")
	}
	if err == nil {
		err = layout.CheckStoreDir(l.storeDir)
	}
	if l.bareDir = l.realDir; err == nil {
		// A store that is not there yet is for the daemon to complain about.
		if bare, err := filepath.EvalSymlinks(l.realDir); err == nil {
			l.bareDir = bare
		}
	}
	if err != nil {
		return location{}, fmt.Errorf("store %q: %w", store, err)
	}
	return l, nil
}

// params takes over the parameters that say where a store's parts are. root is
// what stands before them, which newer Nix takes for the parameter of that name.
func (l *location) params(root, query string) error {
	root, err := url.PathUnescape(root)
	if err != nil {
		return err
	}
	// A plus sign does not mean a blank here, unlike in a web form.
	values, err := url.ParseQuery(strings.ReplaceAll(strings.TrimPrefix(query, "?"), "+", "%2B"))
	if err != nil {
		return err
	}
	if v := values.Get("root"); v != "" {
		root = v
	}
	if v := values.Get("store"); v != "" {
		l.storeDir, l.realDir = v, v
	}
	if root != "" {
		if root, err = filepath.Abs(root); err != nil {
			return err
		}
		if err := l.root(root); err != nil {
			return err
		}
		values.Set("root", root)
	}
	if v := values.Get("real"); v != "" {
		l.realDir = v
	}
	if v := values.Get("log"); v != "" {
		l.logDir = v
	}
	if !l.spawn {
		l.stateDir = ""
		return nil
	}
	l.uri = "local"
	if v := values.Get("state"); v != "" {
		l.stateDir = v
	}
	for name := range values {
		if !slices.Contains([]string{"root", "store", "real", "state", "log"}, name) {
			l.stateDir = "" // it may change how the database is to be read
		}
	}
	if len(values) > 0 {
		l.uri += "?" + escapeBlanks(values.Encode())
	}
	return nil
}

// root makes dir the root of the store. It has to be one already: Nix would make a
// new, empty store of a mistyped name.
func (l *location) root(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	l.realDir = filepath.Join(dir, "nix/store")
	l.logDir = filepath.Join(dir, "nix/var/log/nix")
	l.stateDir = filepath.Join(dir, "nix/var/nix")
	st, err := os.Stat(l.realDir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir():
		return fmt.Errorf("no folder nix/store below it: %w", fs.ErrNotExist)
	case err != nil:
		return err
	}
	l.uri = "local?root=" + escape(dir)
	return nil
}

// escape writes a parameter's value as Nix reads it, to which a plus sign does
// not mean a blank.
func escape(s string) string { return escapeBlanks(url.QueryEscape(s)) }

func escapeBlanks(encoded string) string { return strings.ReplaceAll(encoded, "+", "%20") }
