package nixconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// ErrManaged says that a file is made by something else, as NixOS and home-manager
// make nix.conf, and would be written over.
var ErrManaged = errors.New("it lies in the Nix store: another program makes it")

// ErrBusy says that another process edits a file of the same folder.
var ErrBusy = errors.New("another process is editing it")

// patience is how long an edit waits for another one.
const patience = 10 * time.Second

// An Edit changes a file.
type Edit struct {
	Mode fs.FileMode // of a new file
	// Private takes the rights of others from a file that is there. Its group keeps what
	// it has, unless all may read the file: then the group was not chosen for it.
	Private bool
	// Change returns the new text, nil for no file. It is given nil if there is no
	// file.
	Change func(text []byte) ([]byte, error)
}

// Apply changes a file and returns whether anything changed. A link is followed.
// Owner, group and mode stay. It holds the folder's lock from reading to renaming.
func (e Edit) Apply(name string) (changed bool, err error) {
	if name, err = Target(name); err != nil {
		return false, err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return false, err
	}
	folder, err := lock(dir)
	if err != nil {
		return false, fmt.Errorf("edit %s: %w", name, err)
	}
	defer folder.Close()
	sweep(name)
	text, st, err := current(name)
	if err != nil {
		return false, err
	}
	next, err := e.Change(text)
	if err != nil {
		return false, fmt.Errorf("edit %s: %w", name, err)
	}
	mode := e.Mode
	if st != nil {
		mode = st.Mode().Perm()
		if e.Private && mode&0o004 != 0 {
			mode &^= 0o070
		}
		if e.Private {
			mode &^= 0o007
		}
	}
	switch {
	case next == nil && text == nil:
		return false, nil
	case next == nil:
		if err := os.Remove(name); err != nil {
			return false, err
		}
		return true, folder.Sync()
	case text != nil && bytes.Equal(next, text) && mode == st.Mode().Perm():
		return false, nil
	}
	if err := replace(name, next, mode, st); err != nil {
		return false, err
	}
	return true, folder.Sync()
}

// Preview returns the text of a file before and after the edit, and changes
// nothing.
func (e Edit) Preview(name string) (before, after []byte, err error) {
	if name, err = Target(name); err != nil {
		return nil, nil, err
	}
	text, _, err := current(name)
	if err != nil {
		return nil, nil, err
	}
	after, err = e.Change(text)
	if err != nil {
		return nil, nil, fmt.Errorf("edit %s: %w", name, err)
	}
	return text, after, nil
}

// Target returns the file behind the links of a name, which is not to lie in the
// Nix store.
func Target(name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// A link that leads nowhere is not written through: its target may be on
		// a disk that is not mounted. A file that is there now was made by another edit meanwhile.
		if st, err := os.Lstat(name); err == nil && st.Mode().Type() == fs.ModeSymlink {
			return "", fmt.Errorf("%s is a link to a file that is not there", name)
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if err != nil {
			return name, nil
		}
		real = filepath.Join(dir, filepath.Base(name))
	case err != nil:
		return "", err
	}
	for _, store := range []string{"/nix/store", os.Getenv("NIX_STORE_DIR")} {
		if store != "" && strings.HasPrefix(real, filepath.Clean(store)+"/") {
			return "", fmt.Errorf("%s: %w", name, ErrManaged)
		}
	}
	return real, nil
}

// current reads a file as it is; text and st are nil if there is none.
func current(name string) (text []byte, st fs.FileInfo, err error) {
	st, err = os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", name)
	}
	text, err = readFile(name)
	if text == nil {
		text = []byte{}
	}
	return text, st, err
}

// temporary is what the names of a file's temporary ones begin with.
func temporary(name string) string { return "." + filepath.Base(name) + ".nixstatic-" }

// sweep removes temporary files of processes that died, which may hold a token. The
// lock of the folder is held, so that no process writes one.
func sweep(name string) {
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary(name)) && e.Type().IsRegular() {
			os.Remove(filepath.Join(filepath.Dir(name), e.Name()))
		}
	}
}

// replace puts a new file into the place of the old one. After a crash the name
// has the old text or the new, and perhaps a temporary file lies beside it.
func replace(name string, text []byte, mode fs.FileMode, old fs.FileInfo) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), temporary(name)+"*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(text); err != nil {
		return err
	}
	if old != nil {
		if owner, ok := old.Sys().(*syscall.Stat_t); ok && (int(owner.Uid) != os.Geteuid() || int(owner.Gid) != os.Getegid()) {
			if err = f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("keep the owner of %s: %w", name, err)
			}
		}
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// lock locks a folder against other edits. The kernel frees the lock when the
// process ends. On a file system without locks of folders there is none: the rename
// is atomic nevertheless.
func lock(dir string) (*os.File, error) {
	folder, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := layout.Flock(folder, false)
		held := errors.Is(err, syscall.EWOULDBLOCK)
		switch {
		case err == nil, errors.As(err, new(*layout.UnableError)):
			return folder, nil
		case held && time.Since(start) < patience:
			continue
		case held:
			err = ErrBusy
		}
		folder.Close()
		return nil, err
	}
}
