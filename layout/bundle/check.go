package bundle

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// Bytes returns the size of all parts.
func (b *Bundle) Bytes() (n int64) {
	for _, p := range b.parts {
		n += p.Size
	}
	return n
}

// Check reads every byte of the bundle, and compares it with the sums. Progress counts the
// bytes meanwhile; it may be nil. A wrong one is a *BadError.
func (b *Bundle) Check(ctx context.Context, progress *atomic.Int64) error {
	if progress == nil {
		progress = new(atomic.Int64)
	}
	buf := make([]byte, 256<<10)
	for _, p := range b.parts {
		if err := p.check(ctx, progress, buf); err != nil {
			return about(p.File, err)
		}
	}
	return nil
}

func (p *part) check(ctx context.Context, progress *atomic.Int64, buf []byte) error {
	list := p.members[len(p.members)-1]
	sums := bufio.NewReader(io.NewSectionReader(p.File, list.at, list.size))
	for _, m := range p.members[:len(p.members)-1] {
		sum := sha256.New()
		n, err := io.CopyBuffer(sum, layout.CancelReader(ctx, io.NewSectionReader(p.File, m.at, m.size)), buf)
		if err != nil {
			return fmt.Errorf("read %s: %w", m.name, err)
		}
		if n < m.size {
			return fmt.Errorf("%w", ErrCut)
		}
		progress.Add(n)
		want := fmt.Appendf(nil, "%x  %s\n", sum.Sum(nil), m.name)
		have := make([]byte, len(want))
		if _, err := io.ReadFull(sums, have); err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return fmt.Errorf("read %s: %w", sumsName, err)
		}
		if !bytes.Equal(have, want) {
			return &BadError{Msg: fmt.Sprintf("%s is damaged: it has another sum than %s says", m.name, sumsName)}
		}
	}
	if _, err := sums.ReadByte(); err != io.EOF {
		return &BadError{Msg: sumsName + " is damaged: it has sums of what is not there"}
	}
	return nil
}

// A Waiting path needs what neither the tree nor the bundle has.
type Waiting struct {
	Path layout.StorePath
	For  layout.StorePath // the path that is not there; Path itself if its own NAR is not whole
}

// A carriedPath is what Ready has to know of a record.
type carriedPath struct {
	references []layout.StorePath
	whole      bool // its NAR is here
}

// Ready says which paths of the bundle can go into a tree, as all their references are
// there, or go along, or are provided by an upstream; and which have to wait for other
// parts. A path that the tree has already is ready. Provided may be nil.
func (b *Bundle) Ready(ctx context.Context, tree layout.Reader, provided func(context.Context, layout.StorePath) (bool, error)) (ready []layout.StorePath, waiting []Waiting, err error) {
	records := map[layout.StorePath]*carriedPath{}
	names := map[layout.StorePath]layout.StorePath{}
	for info := range b.List(ctx, "") {
		if info.Key.Kind() != layout.KindNarInfo {
			continue
		}
		n, _, err := readRecord(ctx, b, info.Key, b.StoreDir)
		if err != nil {
			return nil, nil, err
		}
		path := &carriedPath{}
		for _, ref := range n.References {
			path.references = append(path.references, once(names, ref))
		}
		switch _, err := layout.FindNAR(ctx, b, n); {
		case err == nil:
			path.whole = true
		case !errors.Is(err, fs.ErrNotExist):
			return nil, nil, err
		}
		records[once(names, n.Path)] = path
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	there, err := b.look(ctx, tree, records, provided)
	if err != nil {
		return nil, nil, err
	}
	lacks := map[layout.StorePath]layout.StorePath{}
	referrers := map[layout.StorePath][]layout.StorePath{}
	var late []layout.StorePath
	wait := func(p, reason layout.StorePath) {
		if _, waits := lacks[p]; !waits && !there[p] {
			lacks[p] = reason
			late = append(late, p)
		}
	}
	for p, n := range records {
		if !n.whole {
			wait(p, p)
		}
		for _, ref := range n.references {
			if records[ref] != nil {
				referrers[ref] = append(referrers[ref], p)
			} else if !there[ref] {
				wait(p, ref)
			}
		}
	}
	for len(late) > 0 {
		p := late[0]
		late = late[1:]
		for _, referrer := range referrers[p] {
			wait(referrer, lacks[p])
		}
	}
	for p := range records {
		if reason, waits := lacks[p]; waits {
			waiting = append(waiting, Waiting{p, reason})
		} else {
			ready = append(ready, p)
		}
	}
	slices.Sort(ready)
	slices.SortFunc(waiting, func(a, b Waiting) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) })
	return ready, waiting, nil
}

// look says which of the records and what they refer to is in the tree already.
func (b *Bundle) look(ctx context.Context, tree layout.Reader, records map[layout.StorePath]*carriedPath, provided func(context.Context, layout.StorePath) (bool, error)) (map[layout.StorePath]bool, error) {
	there := map[layout.StorePath]bool{}
	var paths []layout.StorePath
	ask := func(p layout.StorePath) {
		if _, asked := there[p]; !asked {
			there[p] = false
			paths = append(paths, p)
		}
	}
	for p, n := range records {
		ask(p)
		for _, ref := range n.references {
			ask(ref)
		}
	}
	found := make([]bool, len(paths))
	numbers := func(yield func(int, error) bool) {
		for i := range paths {
			if !yield(i, nil) {
				return
			}
		}
	}
	err := parallel.Each(ctx, stating, numbers, func(ctx context.Context, i int) (err error) {
		found[i], err = isWhole(ctx, tree, layout.NarInfoKey(paths[i]), b.StoreDir)
		if err == nil && !found[i] && records[paths[i]] == nil && provided != nil {
			found[i], err = provided(ctx, paths[i])
		}
		return err
	})
	for i, p := range paths {
		there[p] = found[i]
	}
	return there, err
}

// Lacking returns the numbers of parts of which others are there, in their order. It
// cannot see that the last parts are not there.
func (b *Bundle) Lacking() (numbers []int) {
	have := map[string][]int{}
	for _, p := range b.parts {
		have[p.ID] = append(have[p.ID], p.Part)
	}
	for _, parts := range have {
		for n := 1; n < slices.Max(parts); n++ {
			if !slices.Contains(parts, n) && !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	return numbers
}
