package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/lock"
)

// toDo reports whether a difference is one that a run removes.
func (r *run) toDo(d decision) bool {
	if d.key == layout.UpstreamsKey && d.verdict == extra {
		return false // of what it was promised nothing is taken back
	}
	return d.verdict != same && r.mirror.wants(d.key) && (d.verdict != extra || r.mirror.Delete)
}

// A run is one call of Run, with what its passes share.
type run struct {
	mirror   *Mirror
	jobs     int
	limit    *rate.Limiter
	progress *Progress
	report   reporter
	blind    bool         // the destination cannot be listed
	encoded  bool         // sizes in the listing of the source may be of what is decoded when it is read
	keys     []layout.Key // nil: all
	storeDir string       // of the source
	pruned   bool         // the destination is a bucket that others prune: see put

	problems problems
	kept     atomic.Int64 // objects that a removal left
}

func (m *Mirror) newRun() *run {
	r := &run{mirror: m, jobs: m.Jobs, limit: newLimiter(m.Bandwidth), progress: m.Progress, report: reporter{to: m.Report}}
	if r.jobs <= 0 {
		r.jobs = defaultMirrorJobs
	}
	if r.progress == nil {
		r.progress = &Progress{}
	}
	r.blind = layout.TraitsOf(m.Dest).Blind
	r.encoded = layout.TraitsOf(m.Source).Encoded
	return r
}

// locked does work under the lock of the destination, if it can be locked. Two
// runs to one destination would rely on each other's leftovers: one would publish
// a narinfo whose NAR the other is about to remove.
func (r *run) locked(ctx context.Context, work func(context.Context) error) error {
	if r.blind {
		return work(ctx)
	}
	l := &lock.Lock{Tree: r.mirror.Dest, Waiting: r.waiting, Note: func(err error) { r.report.note(err.Error()) }}
	switch {
	case r.mirror.State != "":
		l.LivenessDir = filepath.Dir(r.mirror.State)
	case r.mirror.TempDir != "":
		l.LivenessDir = filepath.Join(r.mirror.TempDir, "nixstatic-sync")
	}
	return l.Do(ctx, work)
}

func (r *run) waiting(w *lock.Wait) {
	if before := r.progress.Waiting.Swap(w); w != nil && (before == nil || before.For != w.For) {
		r.report.note(w.String())
	}
}

// remember keeps what was found equal. A failure is only noted: the next run
// is slower.
func (r *run) remember(s *ledger) {
	if err := s.commit(); err != nil {
		r.report.note(err.Error())
	}
}

// all makes passes until the source held still, then removes.
func (r *run) all(ctx context.Context) error {
	if err := r.check(ctx); err != nil {
		return err
	}
	for n := 1; ; n++ {
		again, err := r.once(ctx, n)
		switch {
		case errors.Is(err, layout.ErrRemoved) && n < passes:
			r.report.note("something was removed from the destination meanwhile: looking again")
		case err != nil || !again:
			return err
		default:
			r.report.note("the source changed meanwhile: looking again")
		}
	}
}

// once makes pass n, and reports whether another is needed.
func (r *run) once(ctx context.Context, n int) (again bool, err error) {
	r.problems.reset()
	p := newPass(r)
	defer p.close()
	p.provisions.read = sync.OnceValues(func() (*layout.Provision, error) {
		return layout.ReadProvision(ctx, r.mirror.Source, r.storeDir)
	})
	if r.pruned {
		var err error
		if p.seen, err = layout.Look(ctx, r.mirror.Dest); err != nil {
			return false, fmt.Errorf("destination: %w", err)
		}
	}
	if err := p.scan(ctx); err != nil {
		return false, err
	}
	if err := p.copyAll(ctx); err != nil {
		return false, err
	}
	if r.problems.moving() && n < passes && r.keys == nil {
		return true, nil
	}
	if r.mirror.Delete && r.keys == nil {
		if err := p.removeAll(ctx); err != nil {
			return false, err
		}
	}
	return false, r.problems.err()
}

// check finds out whether the trees go together.
func (r *run) check(ctx context.Context) error {
	src, err := layout.ReadCacheInfo(ctx, r.mirror.Source)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoSource
	}
	if err != nil {
		return fmt.Errorf("source: %w", err)
	}
	r.storeDir = src.StoreDir
	dst, err := layout.ReadCacheInfo(ctx, r.mirror.Dest)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("destination: %w", err)
	case dst.StoreDir != src.StoreDir:
		return fmt.Errorf("the source is for the store directory %s, the destination for %s", src.StoreDir, dst.StoreDir)
	}
	if r.blind {
		return nil
	}
	if r.mirror.Delete {
		err = gc.Close(ctx, r.mirror.Dest)
	} else {
		err = r.others(ctx)
	}
	if err != nil {
		return fmt.Errorf("destination: %w", err)
	}
	return nil
}
