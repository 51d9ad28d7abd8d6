package mirror_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"iter"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// md5Tree names versions as object stores do. It asks the tree below nothing
// for that: a test knows the bytes.
type md5Tree struct{ layout.Tree }

func (t md5Tree) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		for info, err := range t.Tree.List(ctx, prefix) {
			if err == nil {
				info.ETag = t.sum(ctx, info.Key)
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

func (t md5Tree) sum(ctx context.Context, key layout.Key) string {
	mem := t.Tree.(*treetest.Mem).Clone(nil) // a look that does not count
	text, err := layout.ReadAll(ctx, mem, key)
	if err != nil {
		return ""
	}
	sum := md5.Sum(text)
	return hex.EncodeToString(sum[:])
}

// unsorted is a tree that lists in the wrong order.
type unsorted struct{ layout.Tree }

func (t unsorted) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		var all []layout.Info
		for info := range t.Tree.List(ctx, prefix) {
			all = append(all, info)
		}
		for _, info := range slices.Backward(all) {
			if !yield(info, nil) {
				return
			}
		}
	}
}
