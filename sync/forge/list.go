package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A file is an entry of the answer of listPackageFiles.
type file struct {
	Name string `json:"name"`
	Size int64  `json:"Size"`
	MD5  string `json:"md5"`
}

// List asks for all files with one request, and yields those whose keys begin with the
// prefix. A version that is not there has no files.
func (r *Registry) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		all, err := r.list(ctx)
		if err != nil {
			yield(layout.Info{}, fmt.Errorf("list %s: %w", r.loc.URL(), err))
			return
		}
		for _, info := range all {
			private := info.Key.Kind() == layout.KindPrivate && !strings.HasPrefix(prefix, layout.PrivatePrefix)
			if !strings.HasPrefix(string(info.Key), prefix) || private {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(layout.Info{}, err)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// fresh is for how long an answer stands for another question: parts of a tree are listed
// side by side.
const fresh = 5 * time.Second

func (r *Registry) list(ctx context.Context) (all []layout.Info, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listing.IsZero() && time.Since(r.listing) < fresh {
		return r.listed, nil
	}
	if all, err = r.ask(ctx); err == nil {
		r.listed, r.listing = all, time.Now()
	}
	return all, err
}

// changed forgets the last answer.
func (r *Registry) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.listed, r.listing = nil, time.Time{}
}

func (r *Registry) ask(ctx context.Context) ([]layout.Info, error) {
	body, _, err := r.api.Get(ctx, "files")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	from := &io.LimitedReader{R: body, N: maxListing}
	decoder := json.NewDecoder(from)
	if start, err := decoder.Token(); err != nil || start != json.Delim('[') {
		return nil, errors.Join(errors.New("the answer is not a list of files"), err)
	}
	var all []layout.Info
	for decoder.More() {
		var f file
		if err := decoder.Decode(&f); err != nil {
			return nil, fmt.Errorf("read the list of files: %w", err)
		}
		if len(all) >= maxFiles || from.N <= 0 {
			return nil, fmt.Errorf("read the list of files: %w", layout.ErrTooLarge)
		}
		if key, ours := keyOf(f.Name); ours {
			info := layout.Info{Key: key, Size: f.Size, ETag: versionOf(key, f.Size, f.MD5)}
			if key.Kind() == layout.KindNarInfo {
				info.Size = -1 // the record has another size in a tree
			}
			all = append(all, info)
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, fmt.Errorf("read the list of files: %w", err)
	}
	slices.SortFunc(all, func(a, b layout.Info) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return all, nil
}

// versionOf names a version of an object. A NAR is told by its size, which is all that
// a HEAD says: its name says the rest.
func versionOf(key layout.Key, size int64, md5 string) string {
	if key.Kind() == layout.KindNAR || len(md5) != 2*16 {
		return fmt.Sprintf("size-%d", size)
	}
	return md5
}
