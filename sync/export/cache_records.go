package export

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// maxRecords bounds what records keeps, in bytes of narinfos: room for some
// 50,000 ordinary ones.
const maxRecords = 48 << 20

// records remembers narinfos between the question for a path and that for its
// NAR. Forgotten records are read again.
type records struct {
	mu    sync.Mutex
	byKey map[string]remembered
	size  int
}

type remembered struct {
	n    *layout.NarInfo
	size int
}

func (r *records) get(hash string) *layout.NarInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byKey[hash].n
}

// put remembers n, whose text has size bytes, and forgets others if need be:
// any, since which will be asked for next is not to be known.
func (r *records) put(n *layout.NarInfo, size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[string]remembered{}
	}
	hash := n.Path.Hash()
	r.size += size - r.byKey[hash].size
	r.byKey[hash] = remembered{n, size}
	for other, m := range r.byKey {
		if r.size <= maxRecords {
			break
		}
		if other != hash {
			delete(r.byKey, other)
			r.size -= m.size
		}
	}
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
