package bundle

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// Files are the parts of a bundle while they are written. None has its name before all of
// them are whole and on disk.
type Files struct {
	Name    string // of the bundle; with Parts, that of each has its number behind
	Parts   bool
	Replace bool // what has the name already

	unfinished []string
	open       *os.File
}

// names returns what the parts are called in the end.
func (f *Files) name(i int) string {
	if f.Parts {
		return fmt.Sprintf("%s.%d", f.Name, i+1)
	}
	return f.Name
}

// Next begins a part. The error is fs.ErrExist if there is something of its name.
func (f *Files) Next() (io.Writer, error) {
	if err := f.flush(); err != nil {
		return nil, err
	}
	name := f.name(len(f.unfinished))
	if err := f.free(name); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name+"."+strings.ToLower(rand.Text()[:8])+".unfinished", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	f.open = file
	f.unfinished = append(f.unfinished, file.Name())
	return file, nil
}

// free refuses a name that is taken.
func (f *Files) free(name string) error {
	if f.Replace {
		return nil
	}
	_, err := os.Lstat(name)
	if err == nil {
		return &fs.PathError{Op: "make", Path: name, Err: fs.ErrExist}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (f *Files) flush() error {
	if f.open == nil {
		return nil
	}
	err := errors.Join(layout.FlushFile(f.open), f.open.Close())
	f.open = nil
	return err
}

// Done gives all parts their names, and returns these. A process that dies meanwhile leaves
// parts that are whole, and others that have not got their names.
func (f *Files) Done() (names []string, err error) {
	if err := f.flush(); err != nil {
		return nil, err
	}
	for i := range f.unfinished {
		if err := f.free(f.name(i)); err != nil {
			return nil, err
		}
	}
	for i, unfinished := range f.unfinished {
		if err := os.Rename(unfinished, f.name(i)); err != nil {
			return nil, err
		}
		f.unfinished[i] = ""
		names = append(names, f.name(i))
	}
	folder, err := os.Open(filepath.Dir(f.Name))
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return names, layout.FlushDir(folder)
}

// Discard removes what has not got its name. After Done it does nothing.
func (f *Files) Discard() {
	if f.open != nil {
		f.open.Close() // nothing of it stays
		f.open = nil
	}
	for _, unfinished := range f.unfinished {
		if unfinished != "" {
			os.Remove(unfinished)
		}
	}
	f.unfinished = nil
}
