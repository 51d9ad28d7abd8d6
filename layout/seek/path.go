package seek

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/nixstatic/nixstatic/layout/nar"
)

// ErrDirectory says that a file was asked for where a directory is.
var ErrDirectory = errors.New("is a directory")

// ErrNotDirectory says that a path goes on behind what is not a directory.
var ErrNotDirectory = errors.New("is not a directory")

// A LinkError says that a path leads to or through a symbolic link. Links are not
// followed here: they may lead out of the NAR.
type LinkError struct {
	Path   string // of the link in the NAR
	Target string
	Rest   string // of the path that was asked for, behind the link
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("%q is a symbolic link to %q", e.Path, e.Target)
}

// Split returns the names in a path within a NAR. "." and empty ones mean nothing.
func Split(path string) []string {
	var names []string
	for name := range strings.SplitSeq(path, "/") {
		if name != "" && name != "." {
			names = append(names, nar.Text(name))
		}
	}
	return names
}

// Lookup finds a node of a listing. The error is fs.ErrNotExist, ErrNotDirectory or a
// LinkError for a link on the way there; a link at the end is found.
func Lookup(root *nar.Node, path string) (*nar.Node, error) {
	names, node := Split(path), root
	for i, name := range names {
		switch node.Type {
		case nar.TypeSymlink:
			return nil, &LinkError{strings.Join(names[:i], "/"), node.Target, strings.Join(names[i:], "/")}
		case nar.TypeRegular:
			return nil, pathError(names[:i], ErrNotDirectory)
		}
		next := node.Entries[name]
		if next == nil {
			return nil, pathError(names[:i+1], fs.ErrNotExist)
		}
		node = next
	}
	return node, nil
}

// A PathError tells of which path in a NAR an error is.
type PathError struct {
	Path string // "" for the root
	Err  error
}

func (e *PathError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }
func (e *PathError) Unwrap() error { return e.Err }

func pathError(names []string, err error) error { return &PathError{strings.Join(names, "/"), err} }

// joined is the path without what means nothing.
func joined(path string) string { return strings.Join(Split(path), "/") }
