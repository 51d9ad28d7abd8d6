package token

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/nixstatic/nixstatic/layout"
)

// Read reads the token file at path.
func Read(path string) ([]Token, error) {
	text, err := readTokenText(path)
	if err != nil {
		return nil, err
	}
	tokens, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return tokens, nil
}

func readTokenText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return text, nil
}

// Add adds a token to the file at path, which is made if it is not there.
// A name that the file has already is fs.ErrExist.
func Add(path string, t Token) error {
	return editTokens(path, true, func(text []byte, tokens []Token) ([]byte, error) {
		for _, have := range tokens {
			if have.Name == t.Name {
				return nil, fmt.Errorf("token %s: %w", t.Name, fs.ErrExist)
			}
		}
		if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
			text = append(text, '\n')
		}
		return append(text, t.String()+"\n"...), nil
	})
}

// Revoke removes a token from the file at path, and leaves all other lines
// as they are. A name that the file does not have is fs.ErrNotExist.
func Revoke(path, name string) error {
	return editTokens(path, false, func(text []byte, _ []Token) ([]byte, error) {
		var kept []byte
		found := false
		for line := range bytes.Lines(text) {
			if fields := strings.Fields(string(line)); len(fields) > 0 && fields[0] == name {
				found = true
				continue
			}
			kept = append(kept, line...)
		}
		if !found {
			return nil, fmt.Errorf("token %s: %w", name, fs.ErrNotExist)
		}
		return kept, nil
	})
}

// editTokens replaces the file by what edit makes of it. The file is locked
// meanwhile, and readers see the old one or the new one. A file that
// cannot be parsed is left as it is, and nothing is written that a server could
// not read.
func editTokens(path string, create bool, edit func([]byte, []Token) ([]byte, error)) error {
	// A link stays a link: what it leads to is replaced.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	locked, err := lockTokens(path, create)
	if err != nil {
		return err
	}
	defer locked.Close()
	text, err := readTokenText(path)
	if err != nil {
		return err
	}
	tokens, err := Parse(text)
	if err != nil {
		return fmt.Errorf("%s is left as it is: %w", path, err)
	}
	if text, err = edit(text, tokens); err != nil {
		return err
	}
	if _, err := Parse(text); err != nil {
		return fmt.Errorf("%s is left as it is: %w", path, err)
	}
	return replaceTokens(path, locked, text)
}

// lockTokens opens the file and locks it. The lock is on the file, not on its
// name: a process that waited for a file which was replaced meanwhile locks the new
// one.
func lockTokens(path string, create bool) (*os.File, error) {
	flags := os.O_RDWR // as a lock on some network file systems wants it
	if create {
		flags |= os.O_CREATE
	}
	for {
		f, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			return nil, err
		}
		if err := layout.Flock(f, true); err != nil {
			f.Close()
			return nil, err
		}
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		now, err := os.Stat(path)
		if err == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
		if err != nil && !(create && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
	}
}

// replaceTokens writes the file anew. It is for its owner alone, and for the
// group if that could read it before. The owner stays; that of a new file is
// the owner of its folder, so that root can make tokens for a server that runs
// as another user.
func replaceTokens(path string, old *os.File, text []byte) (err error) {
	st, err := old.Stat()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if st.Size() == 0 {
		if folder, err := os.Stat(dir); err == nil {
			st = fileWithMode{folder, st.Mode()}
		}
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	// For its own file, a process is refused this only if the mount decides on the
	// owner and the mode of every file.
	if owner, ok := st.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil && !refusedByMount(err) {
			return err
		}
	}
	if err := f.Chmod(st.Mode().Perm()&0o640 | 0o600); err != nil && !refusedByMount(err) {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := errors.Join(layout.FlushFile(f), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return nil // the file is there; a power cut alone could lose it
	}
	defer folder.Close()
	return layout.FlushDir(folder)
}

func refusedByMount(err error) bool { return errors.Is(err, fs.ErrPermission) || layout.Lacks(err) }

// fileWithMode is a file's description with the permissions of another.
type fileWithMode struct {
	fs.FileInfo
	mode fs.FileMode
}

func (f fileWithMode) Mode() fs.FileMode { return f.mode }
