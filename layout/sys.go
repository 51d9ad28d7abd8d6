package layout

import (
	"os"

	"golang.org/x/sys/unix"
)

// linkNew gives the file a second name and drops the first. Dying in between
// leaves the file in staging as well, where it is swept.
func linkNew(root *os.Root, from, to string) error {
	if err := root.Link(from, to); err != nil {
		return err
	}
	return root.Remove(from)
}

// flock takes an exclusive lock that ends with the file or the process.
func flock(f *os.File, wait bool) error {
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}
