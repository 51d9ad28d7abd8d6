package layout

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
)

// NarInfoKeys yields the keys of the narinfos in the directory from their names alone, as
// the file system tells them: a million of them take half a second, and to describe
// each takes several.
func (d *Dir) NarInfoKeys(ctx context.Context) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		f, err := d.openTop()
		if errors.Is(absent(err), fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield("", keyError("list", "the cache", err))
			return
		}
		defer f.Close()
		const length = hashLen + len(".narinfo")
		reader := &nameReader{dir: f}
		for names := []byte(nil); ; names = names[:0] {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			err := reader.next(func(name []byte) {
				if len(name) == length && string(name[hashLen:]) == ".narinfo" {
					names = append(names, name...)
				}
			})
			// The keys of one reading share their text.
			for text := string(names); text != ""; text = text[length:] {
				if checkHash(text[:hashLen]) == nil && !yield(Key(text[:length]), nil) {
					return
				}
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield("", keyError("list", "the cache", err))
				return
			}
		}
	}
}

// openTop opens the directory itself, to read what is in it.
func (d *Dir) openTop() (*os.File, error) {
	var here *os.Root
	err := d.within(".", func(root *os.Root, name string) (err error) {
		here, err = openFolder(root, name)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer here.Close()
	return here.Open(".")
}
