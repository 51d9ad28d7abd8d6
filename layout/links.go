package layout

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A tree in a directory may have symbolic links in it. The rule is the same for
// every read, write and listing, and docs/file-systems.md tells it:
//
//   - A folder at the top of the tree may be a link, to wherever, if the link
//     belongs to root, to the user of this process, or to the owner of the tree's
//     directory. Root does not follow the links of other owners: they would
//     decide where root writes.
//   - Any other link is followed if it stays inside the tree, or inside the folder
//     that such a link leads to.
//   - No other link is followed. Its key is neither there nor absent (I5): to read
//     it is a LinkError, and so is to list it.

// A LinkError tells of a symbolic link that is not followed.
type LinkError struct {
	Name   string // of the link, below the tree's directory
	Target string
	Reason LinkReason
}

// A LinkReason says why a link is not followed.
type LinkReason string

// The reasons.
const (
	LinkDangles   LinkReason = "and nothing is there"
	LinkLeaves    LinkReason = "and a link there has to be relative and to stay inside of the cache"
	LinkUntrusted LinkReason = "and belongs to neither root nor the owner of the cache"
)

func (e *LinkError) Error() string {
	return fmt.Sprintf("%s is a symbolic link to %s, %s", e.Name, e.Target, e.Reason)
}

// within does something with a name below the tree's directory, following links
// by the rule above. It may do it twice: do must not change anything when it
// fails because of a link.
func (d *Dir) within(name string, do func(root *os.Root, name string) error) error {
	root, err := d.open(false)
	if err != nil {
		return err
	}
	if err = do(root, name); !mayBeLink(err) {
		return err
	}
	// A plain tree comes here for names that are absent, and no others.
	folder, rest, _ := strings.Cut(name, "/")
	if rest == "" {
		rest = "."
	}
	if linked, linkErr := d.linkedFolder(root, folder); linkErr != nil {
		return linkErr
	} else if linked != nil {
		defer linked.Close()
		if err = do(linked, rest); !mayBeLink(err) {
			return err
		}
		root, name = linked, rest
	}
	if linkErr := brokenLink(root, name); linkErr != nil {
		return linkErr
	}
	return err
}

// mayBeLink reports whether a link may be why something failed. The error of a
// Root for a link that leads out of it is not exported, and not an Errno.
func mayBeLink(err error) bool {
	var errno syscall.Errno
	switch {
	case err == nil:
		return false
	case !errors.As(err, &errno):
		return true
	}
	return errno == syscall.ENOENT || errno == syscall.ENOTDIR || errno == syscall.ELOOP
}

// linkedFolder opens the folder at the top that is a link out of the tree. It
// returns nil for every other name.
func (d *Dir) linkedFolder(root *os.Root, folder string) (*os.Root, error) {
	if !IsPublicFolder(folder+"/") && folder+"/" != PrivatePrefix {
		return nil, nil
	}
	target, err := readLink(root, folder)
	if target == "" || err != nil {
		return nil, err
	}
	if _, err := root.Stat(folder); err == nil || !mayBeLink(err) {
		return nil, err // it stays inside
	}
	if trusted, err := d.trusts(root, folder); err != nil {
		return nil, err
	} else if !trusted {
		return nil, &LinkError{folder, target, LinkUntrusted}
	}
	linked, err := os.OpenRoot(filepath.Join(d.path, folder) + "/")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &LinkError{folder, target, LinkDangles}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s, a symbolic link to %s: %w", folder, target, err)
	}
	return linked, nil
}

// trusts reports whether a link at the top may lead out of the tree.
func (d *Dir) trusts(root *os.Root, link string) (bool, error) {
	owner := func(name string) (uint32, error) {
		st, err := root.Lstat(name)
		if err != nil {
			return 0, err
		}
		return st.Sys().(*syscall.Stat_t).Uid, nil
	}
	of, err := owner(link)
	if err != nil {
		return false, err
	}
	us := uint32(os.Geteuid())
	if of == 0 || of == us {
		return true, nil
	}
	tree, err := owner(".")
	return us != 0 && of == tree, err
}

// brokenLink returns a LinkError if a part of name is a link that is not followed.
func brokenLink(root *os.Root, name string) error {
	for end := 0; end < len(name); end++ {
		if next := strings.IndexByte(name[end:], '/'); next >= 0 {
			end += next
		} else {
			end = len(name)
		}
		part := name[:end]
		target, err := readLink(root, part)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ENAMETOOLONG) {
			return nil // so is all below
		}
		if err != nil {
			return err
		}
		if target == "" {
			continue
		}
		switch _, err := root.Stat(part); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ELOOP):
			return &LinkError{part, target, LinkDangles}
		case err != nil && mayBeLink(err):
			return &LinkError{part, target, LinkLeaves}
		}
	}
	return nil
}

// readLink returns where a link leads, "" if the name is not that of a link.
func readLink(root *os.Root, name string) (string, error) {
	target, err := root.Readlink(name)
	if errors.Is(err, syscall.EINVAL) {
		return "", nil
	}
	return target, err
}

// openFolder opens a directory. The slash is for names that are none, of which a
// named pipe would hold us for ever.
func openFolder(root *os.Root, name string) (*os.Root, error) { return root.OpenRoot(name + "/") }
