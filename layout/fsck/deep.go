package fsck

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// A narJob is a NAR with the paths whose narinfos led to it.
type narJob struct {
	nar   int32
	paths []int32 // in the index
}

// nars reads every NAR.
func (c *check) nars(ctx context.Context) error {
	byNAR := make([]int32, 0, len(c.index.paths))
	for i, e := range c.index.paths {
		if e.nar >= 0 {
			byNAR = append(byNAR, int32(i))
		}
	}
	slices.SortStableFunc(byNAR, func(a, b int32) int { return int(c.index.paths[a].nar - c.index.paths[b].nar) })
	jobs := func(yield func(narJob) bool) {
		rest := byNAR
		for n := range c.index.nars {
			end := 0
			for end < len(rest) && c.index.paths[rest[end]].nar == int32(n) {
				end++
			}
			if !yield(narJob{int32(n), rest[:end]}) {
				return
			}
			rest = rest[end:]
		}
	}
	for findings := range parallel.Map(ctx, c.o.Jobs, jobs, c.nar) {
		c.o.Progress.NARs.Add(1)
		for _, f := range findings {
			if err := c.emit(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// nar reads one NAR and compares it with all that is said of it.
func (c *check) nar(ctx context.Context, job narJob) []finding {
	key := c.index.nars[job.nar].key
	if c.o.Working != nil {
		c.o.Working(key)
	}
	var findings []finding
	unknown := func(err error) { findings = append(findings, finding{Problem{Key: key}, err}) }

	// The records are read once more: to keep them since the quick check would take
	// memory for all of them. A record that went or leads elsewhere is passed over.
	byMethod := map[compress.Method][]*layout.NarInfo{}
	for _, i := range job.paths {
		k := c.index.paths[i].narInfo()
		text, err := layout.ReadAll(ctx, c.tree, k)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			unknown(err)
			continue
		}
		n, err := layout.ParseNarInfo(text, c.storeDir)
		if err != nil || layout.NarInfoKey(n.Path) != k {
			continue
		}
		if nars, _ := n.NARKeys(); c.index.oneOf(nars) == key {
			byMethod[n.Compression] = append(byMethod[n.Compression], n)
		}
	}
	if len(byMethod) == 0 {
		byMethod[compress.None] = nil // for the file's hash alone: who comes later relies on the name (I4)
	}
	methods := make([]compress.Method, 0, 1)
	for m := range byMethod {
		methods = append(methods, m)
	}
	slices.Sort(methods)
	for i, m := range methods {
		found, err := c.inspect(ctx, key, m, byMethod[m])
		if errors.Is(err, fs.ErrNotExist) {
			return append(findings, c.vanished(ctx, key, byMethod[m])...)
		}
		if err != nil {
			unknown(err)
			continue
		}
		right, err := c.compareFile(ctx, key, byMethod[m], found, i == 0, &findings)
		if err != nil {
			unknown(err)
		}
		for n, record := range byMethod[m] {
			c.compare(ctx, key, record, n, found, right, &findings)
		}
		found.Close()
	}
	return findings
}

func (c *check) inspect(ctx context.Context, key layout.Key, m compress.Method, records []*layout.NarInfo) (*layout.Inspected, error) {
	body, _, err := c.tree.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	claims := make([]*layout.PathInfo, len(records))
	for i, n := range records {
		claims[i] = &n.PathInfo
	}
	found, err := layout.Inspect(ctx, layout.CountReader(body, &c.o.Progress.Bytes), m, c.storeDir, claims...)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return found, nil
}

// vanished tells of records whose NAR went since the quick check, unless they
// went before it.
func (c *check) vanished(ctx context.Context, key layout.Key, records []*layout.NarInfo) (findings []finding) {
	for _, n := range records {
		record := layout.NarInfoKey(n.Path)
		if _, there, err := layout.Lookup(ctx, c.tree, record); err != nil {
			findings = append(findings, finding{Problem{Key: record, Path: n.Path}, err})
		} else if there {
			findings = append(findings, finding{Problem: Problem{MissingNAR, record, n.Path, string(key) + " is gone"}})
		}
	}
	return findings
}
