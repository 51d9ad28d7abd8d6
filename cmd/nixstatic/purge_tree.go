package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// A command that writes to a tree tells other caches of what it replaced: the tree that
// it opens notes it. Removals go by one door, which its caller asks for them.

type purgerKey struct{}

// telling adds the flags of a hook to a command, and runs the hook when the command has
// ended, be it in failure: objects that changed before have changed.
func telling(cmd *cli.Command) *cli.Command {
	cmd.Flags = append(cmd.Flags, purgeFlags()...)
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		p, err := readPurger(c)
		if err != nil {
			return err
		}
		c.Context = context.WithValue(c.Context, purgerKey{}, p)
		err = action(c)
		if failed := p.run(c.Context); err == nil {
			err = failed
		}
		return err
	}
	return cmd
}

// purgerOf returns what telling made, nil if there is nothing to tell.
func purgerOf(c *cli.Context) *purger {
	p, _ := c.Context.Value(purgerKey{}).(*purger)
	return p
}

// tellDir has a tree note what is replaced, if the command tells others.
func tellDir(c *cli.Context, d *layout.Dir) openedTree {
	if p := purgerOf(c); p != nil {
		return &toldDir{d, p}
	}
	return d
}

func tellBucket(c *cli.Context, b *s3.Bucket) openedTree {
	if p := purgerOf(c); p != nil {
		return &toldBucket{b, p}
	}
	return b
}

type toldDir struct {
	*layout.Dir
	purger *purger
}

type toldBucket struct {
	*s3.Bucket
	purger *purger
}

// replaced notes the objects that may have taken the place of others.
func (p *purger) replaced(groups [][]layout.Object) {
	for _, o := range slices.Concat(groups...) {
		if !o.Opts.IfAbsent {
			p.add(o.Key)
		}
	}
}

func (t *toldDir) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	err := t.Dir.Put(ctx, key, body, opts)
	if err == nil && !opts.IfAbsent {
		t.purger.put(ctx, key)
	}
	return err
}

func (t *toldDir) PutBatch(ctx context.Context, groups ...[]layout.Object) ([]layout.Key, error) {
	defer t.purger.replaced(groups)
	return t.Dir.PutBatch(ctx, groups...)
}

func (t *toldBucket) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	err := t.Bucket.Put(ctx, key, body, opts)
	if err == nil && !opts.IfAbsent {
		t.purger.put(ctx, key)
	}
	return err
}

func (t *toldBucket) PutBatch(ctx context.Context, groups ...[]layout.Object) ([]layout.Key, error) {
	defer t.purger.replaced(groups)
	return t.Bucket.PutBatch(ctx, groups...)
}
