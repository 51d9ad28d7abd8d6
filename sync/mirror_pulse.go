package sync

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A pulse is a file that the holder of a lease keeps locked, for others on the
// same machine. The lock ends with the process, however that ends: whoever finds
// the file without one knows that the holder is dead, and does not wait until
// the lease runs out.
//
// Nothing else proves a death. The file is not to be seen from other machines
// and most containers; where it is, by way of a shared directory, the lease tells
// whether it is the same run of the same kernel, which alone knows the lock.
type pulse struct{ file *os.File }

const pulsePrefix = "lease-"

// beat makes the pulse of a lease, in a directory. That it cannot be made only
// means that others wait longer.
func beat(dir, holder string) *pulse {
	if os.MkdirAll(dir, 0o700) != nil {
		return &pulse{}
	}
	sweepPulses(dir)
	f, err := os.OpenFile(filepath.Join(dir, pulsePrefix+holder), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &pulse{}
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		// A sweep was faster, or these files know no locks. What is not there says
		// nothing.
		os.Remove(f.Name())
		f.Close()
		return &pulse{}
	}
	return &pulse{f}
}

// end ends the pulse. A lease that was left behind, because the destination could
// not be reached, is as free as that of the dead: then the file stays, without
// its lock.
func (p *pulse) end(left bool) {
	if p.file == nil {
		return
	}
	if !left {
		os.Remove(p.file.Name())
	}
	p.file.Close()
}

// stopped reports whether the holder of a lease is known to be dead.
func stopped(dir, holder string) bool {
	// The name comes from the destination.
	if holder == "" || strings.Trim(holder, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return false
	}
	f := unlocked(filepath.Join(dir, pulsePrefix+holder))
	if f != nil {
		f.Close()
	}
	return f != nil
}

// unlocked opens and locks a file of ours that nobody holds locked, or returns
// nil.
func unlocked(name string) *os.File {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	st, err := f.Stat()
	if err == nil && ourOwn(st) && unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return f
	}
	f.Close()
	return nil
}

// ourOwn: in a directory that others write to, they could make a file that
// declares someone dead.
func ourOwn(st fs.FileInfo) bool {
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode().IsRegular() && int(owner.Uid) == os.Geteuid()
}

// sweepPulses removes what the dead left, once their leases are over as well.
func sweepPulses(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, pulsePrefix+"*")) // a directory with a pattern for a name is not swept
	for _, name := range left {
		if !older(name, 2*leaseTime) {
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
