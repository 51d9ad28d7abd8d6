package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/signer"
)

// Options say how a tree is adopted. The zero value checks and completes it.
type Options struct {
	Keys []signer.SecretKey // that sign what is right
	// Trusted are the keys of which a path needs a good signature to be signed by ours,
	// unless its bytes prove it. With none, all that is right is signed.
	Trusted   signer.Trusted
	Method    compress.Method // that NARs are to have; "" leaves them as they are
	Level     int             // of Method; 0 is its default
	DebugInfo bool            // write links to debug symbols
	Jobs      int             // NARs at once; 0 for one per processor
	Dry       bool            // change nothing
	// Memory is a file that tells a later run what this one found right; "" for none.
	Memory string
	// Provided reports whether an upstream provides a path that is referred to and not in
	// the tree; nil: what the tree says of its upstreams.
	Provided func(context.Context, layout.StorePath) (bool, error)
	Progress *Progress        // counts while the run goes on, if not nil
	Waiting  func(*lock.Wait) // is told whom the run waits for; nil when it waits no more
	// Found, unless it is nil, is told of all that is wrong, one at a time.
	Found func(Finding)
}

// Progress counts while a tree is adopted. Another goroutine may read it.
type Progress struct {
	Paths             atomic.Int64 // records read
	NARs, TotalNARs   atomic.Int64
	Bytes, TotalBytes atomic.Int64 // of NAR files
}

// A Finding is something wrong.
type Finding struct {
	Kind   string           `json:"kind"` // as verify names it, or "needs-other"
	Key    layout.Key       `json:"key"`
	Path   layout.StorePath `json:"path,omitempty"`
	Detail string           `json:"detail,omitempty"`
}

// String returns the finding as one line.
func (f Finding) String() string {
	text := f.Kind + " " + string(f.Key)
	if f.Path != "" {
		text += " (" + string(f.Path) + ")"
	}
	if f.Detail != "" {
		text += ": " + f.Detail
	}
	return text
}

// An Outcome is what a run did, or with Dry would do.
type Outcome struct {
	Paths        int64 `json:"paths"`        // that are right in the end
	Unchanged    int64 `json:"unchanged"`    // of these, that were as they should be
	Listings     int64 `json:"listings"`     // written
	Records      int64 `json:"records"`      // changed
	Moved        int64 `json:"moved"`        // NARs that got their own name
	Recompressed int64 `json:"recompressed"` // NARs
	Signed       int64 `json:"signed"`       // records that gained a signature of ours
	Unsigned     int64 `json:"unsigned"`     // records that no trusted key has signed, and ours did not
	Links        int64 `json:"debugLinks"`   // written
	BytesRead    int64 `json:"bytesRead"`
	CacheInfo    bool  `json:"cacheInfo"` // it was written
	// Back are paths that an earlier run set aside for want of others, and that are whole now.
	Back        []layout.StorePath `json:"back"`
	Quarantined []Finding          `json:"quarantined"`
	// Unknown is what could not be told: it stays as it is.
	Unknown []string `json:"unknown"`
}

// ErrNoCache says that there is nothing of a cache.
var ErrNoCache = errors.New("there is nothing of a binary cache in it")

// Run adopts a tree. It takes the lock of the tree, and waits for another run that is at
// work there.
func Run(ctx context.Context, t layout.Tree, o Options) (Outcome, error) {
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Progress == nil {
		o.Progress = &Progress{}
	}
	a := &adoption{tree: t, o: o, batches: layout.TraitsOf(t).Batches}
	if o.Dry {
		return a.out, a.result(a.run(ctx))
	}
	err := (&lock.Lock{Tree: t, Waiting: o.Waiting}).Do(ctx, func(ctx context.Context) error {
		layout.Sweep(t)
		return a.run(ctx)
	})
	return a.out, a.result(err)
}

// An adoption is one run.
type adoption struct {
	tree    layout.Tree
	o       Options
	out     Outcome
	batches bool // many objects are put cheaper together
	writer  *layout.Writer
	info    layout.CacheInfo
	hasInfo bool
	seen    layout.Sight
	memory  *memory
	scan    scan

	mu   sync.Mutex // guards out and what follows
	bad  map[layout.Key]wrong
	wait []change // for a batch
}

// wrong is why an object is to be set aside.
type wrong struct {
	Finding
	object layout.Info
}

func (a *adoption) result(err error) error {
	a.out.BytesRead = a.o.Progress.Bytes.Load()
	if a.out.Back == nil {
		a.out.Back = []layout.StorePath{}
	}
	if a.out.Quarantined == nil {
		a.out.Quarantined = []Finding{}
	}
	if a.out.Unknown == nil {
		a.out.Unknown = []string{}
	}
	return err
}

func (a *adoption) run(ctx context.Context) (err error) {
	a.bad = map[layout.Key]wrong{}
	if a.seen, err = layout.Look(ctx, a.tree); err != nil {
		return err
	}
	if err := a.describe(ctx); err != nil {
		return err
	}
	a.writer = &layout.Writer{Tree: a.tree, StoreDir: a.info.StoreDir, Keys: a.o.Keys, Method: a.o.Method, Level: a.o.Level, Pool: compress.NewPool(0)}
	defer a.writer.Pool.Close()
	if a.o.Provided == nil {
		provision, err := layout.ReadProvision(ctx, a.tree, a.info.StoreDir)
		if err != nil {
			return err
		}
		a.o.Provided = provision.Provides
	}
	if err := a.bringBack(ctx); err != nil {
		return err
	}
	a.memory = recall(a.o.Memory, a.o)
	defer a.memory.close()
	steps := []func(context.Context) error{a.list, a.records, a.nars, a.closures, a.setAside, a.rest, a.finish}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// describe reads what the tree is for. A tree that does not say so is for the store
// directory of its records.
func (a *adoption) describe(ctx context.Context) error {
	info, err := layout.ReadCacheInfo(ctx, a.tree)
	if err == nil {
		a.info, a.hasInfo = info, true
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, layout.ErrBroken) && !errors.Is(err, layout.ErrTooLarge) {
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		if err := a.wrongAt(ctx, Finding{Kind: "bad-cache-info", Key: layout.CacheInfoKey, Detail: err.Error()}); err != nil {
			return err
		}
	}
	a.info = layout.DefaultCacheInfo()
	seen := map[string]int{}
	const sample = 100 // records say so, all of them alike
	for key, err := range layout.NarInfoKeys(ctx, a.tree) {
		if err != nil {
			return fmt.Errorf("list the cache: %w", err)
		}
		text, err := layout.ReadAll(ctx, a.tree, key)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
			continue
		}
		if err != nil {
			return err
		}
		if dir := storeDirOf(text); dir != "" {
			if seen[dir]++; seen[dir] >= sample {
				break
			}
		}
	}
	for dir, n := range seen {
		if n > seen[a.info.StoreDir] || n == seen[a.info.StoreDir] && dir < a.info.StoreDir {
			a.info.StoreDir = dir
		}
	}
	return nil
}

// finish describes the tree, where it was not: last, as in a new tree.
func (a *adoption) finish(ctx context.Context) error {
	if !a.hasInfo {
		a.out.CacheInfo = true
		if !a.o.Dry {
			if _, err := layout.Init(ctx, a.tree, a.info); err != nil {
				return err
			}
		}
	}
	return nil
}

// tell notes something wrong that is to be set aside.
func (a *adoption) tell(w wrong) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.bad[w.Key]; !known {
		a.bad[w.Key] = w
	}
}

// wrongAt is tell for an object that was not described yet.
func (a *adoption) wrongAt(ctx context.Context, f Finding) error {
	info, there, err := layout.Lookup(ctx, a.tree, f.Key)
	if err != nil {
		return err
	}
	if there {
		a.tell(wrong{f, info})
	}
	return nil
}

func (a *adoption) unknown(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out.Unknown = append(a.out.Unknown, err.Error())
}
