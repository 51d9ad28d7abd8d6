package nixstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

// tempRoots are paths that no garbage collector deletes while the process lives, in a
// file <state>/temproots/<number> that it keeps locked. A collector holds
// <state>/gc.lock from before it reads these files to its end, takes a file without a
// lock for a dead one's, and removes that. Source: LocalStore::addTempRoot and
// findTempRoots in gc.cc, from Nix 2.3 on.
type tempRoots struct {
	stateDir string
	file     *os.File // nil before the first path
}

// firstNumber is above every process ID that Linux gives, so that the file
// is not one that a Nix takes for its own, in whatever PID namespace.
const firstNumber = 1 << 23

// add holds paths. It fails while garbage is collected: the collector has to be told
// then, in a way that differs between versions of Nix.
func (r *tempRoots) add(storeDir string, paths []layout.StorePath) error {
	gcLock, err := os.OpenFile(filepath.Join(r.stateDir, "gc.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer gcLock.Close()
	if err := unix.Flock(int(gcLock.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", gcLock.Name(), err)
	}
	if r.file == nil {
		if err := r.create(); err != nil {
			return err
		}
	}
	var text []byte
	for _, p := range paths {
		text = append(append(text, p.Abs(storeDir)...), 0)
	}
	_, err = r.file.Write(text)
	return err
}

// create makes the file. No collector is under way.
func (r *tempRoots) create() error {
	dir := filepath.Join(r.stateDir, "temproots")
	for {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(firstNumber+rand.IntN(1<<30-firstNumber))), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
			f.Close()
			os.Remove(f.Name())
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		r.file = f
		return nil
	}
}

// release gives up all paths.
func (r *tempRoots) release() {
	if r.file != nil {
		os.Remove(r.file.Name())
		r.file.Close()
		r.file = nil
	}
}
