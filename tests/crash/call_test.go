//go:build linux && real

package crash

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A call is a system call on something in the watched folder.
type call struct {
	Name    string
	Path    string // relative to the folder, "." for itself
	To      string // where a rename or a link leads
	Creates bool   // of an openat: makes the file if there is none
	// Positions among all beginnings and ends of calls. The effect of a call
	// happens somewhere in between.
	Enter, Exit int
	Errno       unix.Errno // 0 if it happened
	// Bytes are those of a file that is given its final name: another may
	// take its place before anyone can look.
	Bytes *content
}

func (c call) String() string {
	s := c.Name + " " + c.Path
	if c.To != "" {
		s += " -> " + c.To
	}
	if c.Errno != 0 {
		s += " = " + c.Errno.Error()
	}
	return s
}

// naming reports whether the call changes names and not contents.
func (c call) naming() bool {
	switch c.Name {
	case "openat", "mkdirat", "unlinkat", "renameat", "renameat2", "linkat", "symlinkat":
		return true
	}
	return false
}

// staging reports whether all happens inside the folders of unfinished files.
func (c call) staging() bool {
	return c.To == "" && strings.Contains(c.Path, ".nixstatic/staging/")
}

// A shape tells what a system call is about: a descriptor, or directory
// descriptors each followed by a path. The numbers are those of arguments.
type shape struct {
	name string
	fd   int // -1 for none
	at   []int
}

// changing are the calls by which a Go program changes files. TestTracer
// compares with strace, which knows all there are. Without close: that it fails
// means nothing for a file that was synced, or is to be.
var changing = map[uint64]shape{
	unix.SYS_OPENAT:          {"openat", -1, []int{0}}, // counts if it may create
	unix.SYS_MKDIRAT:         {"mkdirat", -1, []int{0}},
	unix.SYS_UNLINKAT:        {"unlinkat", -1, []int{0}},
	unix.SYS_RENAMEAT:        {"renameat", -1, []int{0, 2}},
	unix.SYS_RENAMEAT2:       {"renameat2", -1, []int{0, 2}},
	unix.SYS_LINKAT:          {"linkat", -1, []int{0, 2}},
	unix.SYS_SYMLINKAT:       {"symlinkat", -1, []int{1}},
	unix.SYS_FCHMODAT:        {"fchmodat", -1, []int{0}},
	unix.SYS_FCHOWNAT:        {"fchownat", -1, []int{0}},
	unix.SYS_UTIMENSAT:       {"utimensat", -1, []int{0}},
	unix.SYS_WRITE:           {"write", 0, nil},
	unix.SYS_WRITEV:          {"writev", 0, nil},
	unix.SYS_PWRITE64:        {"pwrite64", 0, nil},
	unix.SYS_PWRITEV:         {"pwritev", 0, nil},
	unix.SYS_COPY_FILE_RANGE: {"copy_file_range", 2, nil},
	unix.SYS_SENDFILE:        {"sendfile", 0, nil},
	unix.SYS_SPLICE:          {"splice", 2, nil},
	unix.SYS_FSYNC:           {"fsync", 0, nil},
	unix.SYS_FDATASYNC:       {"fdatasync", 0, nil},
	unix.SYS_FTRUNCATE:       {"ftruncate", 0, nil},
	unix.SYS_FALLOCATE:       {"fallocate", 0, nil},
	unix.SYS_FCHMOD:          {"fchmod", 0, nil},
	unix.SYS_FCHOWN:          {"fchown", 0, nil},
}

// reading are the calls that ask what is there.
var reading = map[uint64]shape{
	unix.SYS_OPENAT:     {"openat", -1, []int{0}}, // counts if it creates nothing
	unix.SYS_FSTAT:      {"fstat", 0, nil},
	unix.SYS_STATX:      {"statx", -1, []int{0}},
	unix.SYS_READLINKAT: {"readlinkat", -1, []int{0}},
	unix.SYS_GETDENTS64: {"getdents64", 0, nil},
	unix.SYS_READ:       {"read", 0, nil},
	unix.SYS_PREAD64:    {"pread64", 0, nil},
	sysNewfstatat:       {"newfstatat", -1, []int{0}},
}

// serving are the calls by which a server changes files and talks to clients.
var serving = func() map[uint64]shape {
	all := maps.Clone(changing)
	all[unix.SYS_READ] = shape{"read", 0, nil}
	return all
}()

// look tells whether the call that a thread is about to make is on something
// in dir, and of the kind that is looked for.
func look(tid int, shapes map[uint64]shape, dir string, nr uint64, args [6]uint64) (call, bool) {
	s, known := shapes[nr]
	if !known {
		return call{}, false
	}
	c := call{Name: s.name}
	if nr == unix.SYS_OPENAT {
		c.Creates = args[2]&unix.O_CREAT != 0
		if _, reads := shapes[unix.SYS_PREAD64]; c.Creates == reads {
			return call{}, false
		}
	}
	paths := []string{}
	if s.fd >= 0 {
		path, err := openFile(tid, args[s.fd])
		if err != nil {
			return call{}, false
		}
		paths = append(paths, path)
	}
	for _, at := range s.at {
		path, err := namedFile(tid, args[at], args[at+1])
		if err != nil {
			return call{}, false
		}
		paths = append(paths, path)
	}
	inside := false
	for i, path := range paths {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			paths[i], inside = rel, true
		}
	}
	c.Path = paths[0]
	if len(paths) > 1 {
		c.To = paths[1]
	}
	return c, inside
}

// openFile returns the path that a descriptor leads to, as it is named now.
func openFile(tid int, fd uint64) (string, error) {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int32(fd)))
	return strings.TrimSuffix(path, " (deleted)"), err
}

// namedFile returns the path that a directory descriptor and a name lead to.
func namedFile(tid int, dirfd, addr uint64) (string, error) {
	name, err := readString(tid, uintptr(addr))
	// A file that is open gets a further name by this one.
	if n := uint64(0); err == nil && strings.HasPrefix(name, "/proc/self/fd/") {
		if _, err := fmt.Sscanf(name, "/proc/self/fd/%d", &n); err == nil {
			return openFile(tid, n)
		}
	}
	if err != nil || filepath.IsAbs(name) {
		return filepath.Clean(name), err
	}
	dir := ""
	if int32(dirfd) == unix.AT_FDCWD {
		dir, err = os.Readlink(fmt.Sprintf("/proc/%d/cwd", tid))
	} else {
		dir, err = openFile(tid, dirfd)
	}
	return filepath.Join(dir, name), err
}

// readString reads up to the NUL byte. Pieces end where pages do: the next one
// may not be there.
func readString(tid int, addr uintptr) (string, error) {
	var text []byte
	for len(text) < unix.PathMax {
		piece := make([]byte, 4096-addr%4096)
		local := []unix.Iovec{{Base: &piece[0]}}
		local[0].SetLen(len(piece))
		n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: addr, Len: len(piece)}}, 0)
		if err != nil {
			return "", err
		}
		if end := bytes.IndexByte(piece[:n], 0); end >= 0 {
			return string(append(text, piece[:end]...)), nil
		}
		text, addr = append(text, piece[:n]...), addr+uintptr(n)
	}
	return "", unix.ENAMETOOLONG
}
