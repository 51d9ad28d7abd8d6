package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// provided answers a check of a tree that leans on upstreams: with what is
// written in the tree, without asking anyone.
type provided struct {
	ctx       context.Context
	provision *layout.Provision
	urls      []string

	mu   sync.Mutex
	errs []error // what could not be told
}

// readProvided reads what a tree leans on. A tree without a description that can
// be read is for the usual store; the check says what is wrong with it.
func readProvided(ctx context.Context, tree layout.Reader) (*provided, error) {
	storeDir := layout.DefaultStoreDir
	if info, err := layout.ReadCacheInfo(ctx, tree); err == nil {
		storeDir = info.StoreDir
	}
	provision, err := layout.ReadProvision(ctx, tree, storeDir)
	if err != nil {
		return nil, withHint(err, "the file says which upstreams may provide references; put it right by hand, or start serve without it and with --upstream")
	}
	p := &provided{ctx: ctx, provision: provision}
	for _, u := range provision.Upstreams() {
		p.urls = append(p.urls, u.URL)
	}
	return p, nil
}

// provides is for fsck.Options. What cannot be told is no problem of the tree,
// and is kept for unknown.
func (p *provided) provides(path layout.StorePath) bool {
	ok, err := p.provision.Provides(p.ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.errs = append(p.errs, fmt.Errorf("cannot tell whether an upstream provides %s: %w", path, err))
		return true
	}
	return ok
}

func (p *provided) unknown() []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.errs)
}
