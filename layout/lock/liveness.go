package lock

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
)

// A liveness is a file that the holder of a lease keeps locked, for processes on
// the same machine. The lock ends with the process, however that ends: a process
// that finds the file without a lock knows that the holder is dead, and does not
// wait until the lease runs out.
//
// Nothing else proves a death. Other machines and most containers do not see the
// file. If they see it, through a shared directory, the lease tells whether its
// holder runs under the same kernel, which alone knows the lock.
type liveness struct{ file *os.File }

const livenessPrefix = "lease-"

// showLife makes the liveness of a lease, in a directory. If it cannot be made,
// other processes only wait longer.
func showLife(dir, holder string) *liveness {
	if os.MkdirAll(dir, 0o700) != nil {
		return &liveness{}
	}
	sweepLiveness(dir)
	f, err := os.OpenFile(filepath.Join(dir, livenessPrefix+holder), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &liveness{}
	}
	if layout.Flock(f, false) != nil {
		// A sweep was faster, or this file system has no locks. A missing file
		// proves nothing.
		os.Remove(f.Name())
		f.Close()
		return &liveness{}
	}
	return &liveness{f}
}

// end ends the liveness. A lease that was left behind, because the tree could not
// be reached, is as free as that of a dead process: then the file stays, without
// its lock.
func (p *liveness) end(left bool) {
	if p.file == nil {
		return
	}
	if !left {
		os.Remove(p.file.Name())
	}
	p.file.Close()
}

// died reports whether the holder of a lease is known to be dead.
func died(dir, holder string) bool {
	// The name comes from the tree.
	if holder == "" || strings.Trim(holder, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return false
	}
	f := unlocked(filepath.Join(dir, livenessPrefix+holder))
	if f != nil {
		f.Close()
	}
	return f != nil
}

// unlocked opens and locks a file of ours that no process holds locked, or
// returns nil.
func unlocked(name string) *os.File {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	st, err := f.Stat()
	if err == nil && ourOwn(st) && layout.Flock(f, false) == nil {
		return f
	}
	f.Close()
	return nil
}

// ourOwn reports whether this user made a file: in a directory that others write
// to, they could make one that declares a process dead.
func ourOwn(st fs.FileInfo) bool {
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode().IsRegular() && int(owner.Uid) == os.Geteuid()
}

// sweepLiveness removes what dead processes left, once their leases are over as
// well.
func sweepLiveness(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, livenessPrefix+"*")) // a directory with a pattern for a name is not swept
	for _, name := range left {
		if st, err := os.Stat(name); err != nil || time.Since(st.ModTime()) <= 2*leaseTime {
			continue
		}
		if f := unlocked(name); f != nil {
			os.Remove(name)
			f.Close()
		}
	}
}

// bootID names the present run of the machine's kernel; "" where that is not
// known.
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(text) > 100 {
		return ""
	}
	return strings.TrimSpace(string(text))
}
