package export

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// An Import brings store paths from a source into a tree. Runs may be
// interrupted at any moment, repeated, and run side by side.
type Run struct {
	Source Source
	Writer *layout.Writer

	// Trust says whose signatures count. The zero value counts none.
	Trust signer.Trust

	// Provided reports whether another cache provides a path, which then need not be
	// written; nil: none does. It is asked of what the tree lacks.
	Provided func(context.Context, layout.StorePath) (bool, error)
	// Exclude reports whether a path is to be left out, and with it all that refers to
	// it; nil: none is.
	Exclude func(layout.StorePath) bool

	NoClosure  bool // the paths alone; their references must be in the tree
	Force      bool // write again what the tree has already
	Recompress bool // take NARs of another compression than the Writer's apart
	Logs       bool // bring the build logs of derivers along
	Jobs       int  // paths in flight; 0 for one more than there are processors

	Progress *Progress // may be nil
	// Working is told of each path when work on its NAR begins, by several goroutines
	// at once; may be nil.
	Working func(layout.StorePath)
}

// Progress counts while an Import runs. Another goroutine may read it.
type Progress struct {
	Planned atomic.Int64 // paths looked at while planning

	Paths, PathsDone   atomic.Int64 // to import; published
	Bytes, BytesDone   atomic.Int64 // of NARs to import; read so far
	Stored             atomic.Int64 // bytes of compressed NARs published
	Logs, Realisations atomic.Int64 // written
	Deep               atomic.Int64 // paths of more levels than every Nix takes
}

// An UntrustedError says that no trusted key vouches for a path.
type UntrustedError struct {
	Path layout.StorePath
	Sigs []string // the names of the keys that signed it
	CA   bool     // it claims a content address that its bytes do not bear out
}

func (e *UntrustedError) Error() string {
	switch {
	case e.CA:
		return fmt.Sprintf("%s: no trusted key has signed it, and its content does not prove its content address", e.Path)
	case len(e.Sigs) == 0:
		return fmt.Sprintf("%s: it is not signed", e.Path)
	}
	return fmt.Sprintf("%s: no trusted key has signed it, only %v", e.Path, e.Sigs)
}

// replans is how often a run plans anew because what it relied upon was removed.
const replans = 5

// Do imports what plan names as missing, then logs and realisations. Paths that
// were removed since the plan was made are brought along as well.
func (im *Run) Do(ctx context.Context, plan *Plan) error {
	if err := im.checkSignatures(plan); err != nil {
		return err
	}
	run := *im
	if run.Progress == nil {
		run.Progress = &Progress{}
	}
	for n := 0; ; n++ {
		run.Progress.Paths.Store(run.Progress.PathsDone.Load() + int64(len(plan.Missing)))
		run.Progress.Bytes.Store(run.Progress.BytesDone.Load() + plan.NarBytes())
		err := run.do(ctx, plan)
		if !errors.Is(err, layout.ErrRemoved) || n == replans {
			return err
		}
		if plan, err = run.Plan(ctx, plan.roots); err != nil {
			return err
		}
	}
}

func (im *Run) do(ctx context.Context, plan *Plan) error {
	if err := im.pack(ctx, plan); err != nil {
		return err
	}
	if err := im.renew(ctx, plan); err != nil {
		return err
	}
	return im.extras(ctx, plan)
}

// renew makes the paths young again that the tree had already and that were
// asked for by name. Their references stay with them.
func (im *Run) renew(ctx context.Context, plan *Plan) error {
	tree := im.Writer.Tree
	roots := slices.DeleteFunc(slices.Clone(plan.roots), func(p layout.StorePath) bool {
		return slices.Contains(plan.Provided, p) || slices.Contains(plan.Excluded, p)
	})
	for _, root := range roots {
		if err := layout.Renew(ctx, tree, root); err != nil {
			return err
		}
	}
	keys := make([]layout.Key, len(plan.roots))
	for i, root := range plan.roots {
		keys[i] = layout.NarInfoKey(root)
	}
	rely, err := layout.Rely(ctx, tree, plan.seen, keys...)
	if err != nil {
		return err
	}
	defer rely.Release()
	if !rely.Stale {
		return nil
	}
	for _, root := range roots {
		if _, there, err := layout.Lookup(ctx, tree, layout.NarInfoKey(root)); err != nil {
			return err
		} else if !there {
			return fmt.Errorf("rely on %s: %w", layout.NarInfoKey(root), layout.ErrRemoved)
		}
	}
	return nil
}

// checkSignatures refuses a plan with a path that no trusted key vouches for,
// before anything is fetched. A content-addressed path may still prove itself.
func (im *Run) checkSignatures(plan *Plan) error {
	for _, step := range plan.Missing {
		if step.Info.CA == "" && !im.vouched(&step.Info) {
			return &UntrustedError{Path: step.Info.Path, Sigs: signers(step.Info.Sigs)}
		}
	}
	return nil
}

func (im *Run) vouched(info *layout.PathInfo) bool {
	return im.Trust.Vouches(info.Fingerprint(im.Writer.StoreDir), info.Sigs)
}

func signers(sigs []string) (names []string) {
	for _, sig := range sigs {
		if name, err := signer.SignatureName(sig); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// Unsigned counts the paths that the tree had already and that lack a
// signature by one of the Writer's keys. Adding it means to vouch for them,
// which an import that does not read them cannot do.
func (im *Run) Unsigned(plan *Plan) (n int64) {
	for _, info := range plan.Present {
		have := signers(info.Sigs)
		for _, key := range im.Writer.Keys {
			if !slices.Contains(have, key.Name()) {
				n++
				break
			}
		}
	}
	return n
}

// Bare counts the paths of the plan that are without any signature once it is done,
// and that their content does not prove either: no Nix takes them that checks
// signatures.
func (im *Run) Bare(plan *Plan) (n int64) {
	bare := func(info *layout.PathInfo) {
		if info.CA == "" && len(info.Sigs) == 0 {
			n++
		}
	}
	if len(im.Writer.Keys) == 0 {
		for i := range plan.Missing {
			bare(&plan.Missing[i].Info)
		}
	}
	for i := range plan.Present {
		bare(&plan.Present[i])
	}
	return n
}
