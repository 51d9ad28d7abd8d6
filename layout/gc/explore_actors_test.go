package gc_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/export"
)

// An actor is a process: open happens before the search begins.
type actor struct {
	name string
	open func(f *fixture, tree layout.Tree) (run func(context.Context) error, err error)
	// pushes are the paths that are there in the end if the actor succeeds, with all
	// that they refer to.
	pushes []string
}

func sweeper(undo time.Duration) actor {
	return actor{name: "gc", open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			_, err := gc.Collect(ctx, tree, gc.Options{KeepYoung: 30 * 24 * time.Hour, Undo: undo, MaxRemoval: 1, Jobs: 1}, nil)
			return err
		}, nil
	}}
}

func openInbox(f *fixture, tree layout.Tree) (*inbox.Inbox, error) {
	b, err := inbox.Open(context.Background(), inbox.Config{Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir},
		Log: slog.New(slog.NewTextHandler(&f.complaints, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	if err == nil {
		f.inboxes = append(f.inboxes, b)
	}
	return b, err
}

// push is a Nix that copies paths, references first. It asks for all of them,
// and then sends what is not there.
func push(names ...string) actor {
	return pusher("push", func(ctx context.Context, b *inbox.Inbox, hashes []string) ([]bool, error) {
		stored := make([]bool, len(hashes))
		for i, hash := range hashes {
			var err error
			if _, stored[i], err = layout.Lookup(ctx, b.ForNix(), layout.NarInfoKeyOf(hash)); err != nil {
				return nil, err
			}
		}
		return stored, nil
	}, names)
}

// pushAtOnce is a client of ours, that asks for all paths with one question.
func pushAtOnce(names ...string) actor {
	return pusher("push at once", func(ctx context.Context, b *inbox.Inbox, hashes []string) ([]bool, error) {
		return b.Stored(ctx, hashes)
	}, names)
}

func pusher(what string, ask func(context.Context, *inbox.Inbox, []string) ([]bool, error), names []string) actor {
	return actor{name: what + " " + strings.Join(names, " "), pushes: names, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		b, err := openInbox(f, tree)
		return func(ctx context.Context) error {
			var hashes []string
			for _, name := range names {
				hashes = append(hashes, f.infos[name].Path.Hash())
			}
			stored, err := ask(ctx, b, hashes)
			if err != nil {
				return err
			}
			var missing []layout.NarInfo
			for i, name := range names {
				if !stored[i] {
					missing = append(missing, f.infos[name])
				}
			}
			for _, n := range missing {
				nar, _ := n.NARKey()
				_, there, err := layout.Lookup(ctx, b.ForNix(), nar)
				if err != nil {
					return err
				}
				for _, key := range []layout.Key{nar, layout.NarInfoKey(n.Path)} {
					if key == nar && there {
						continue
					}
					body := f.objects[key]
					if _, err := b.Put(ctx, key, bytes.NewReader(body), inbox.Options{Strict: true, Size: int64(len(body))}); err != nil {
						return fmt.Errorf("put %s: %w", key, err)
					}
				}
			}
			return nil
		}, err
	}}
}

func exporter(name string) actor {
	return actor{name: "export " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			run := &export.Run{Source: source{f}, Writer: &layout.Writer{Tree: tree, StoreDir: layout.DefaultStoreDir, Method: "none"}, Jobs: 1, Trust: signer.Trust{All: true}}
			plan, err := run.Plan(ctx, []layout.StorePath{path(name)})
			if err != nil {
				return err
			}
			return run.Do(ctx, plan)
		}, nil
	}}
}

// pinner pins a path, if it is still there.
func pinner(name string) actor {
	return actor{name: "pin " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		return func(ctx context.Context) error {
			_, err := gc.Set(ctx, tree, gc.PinChange{Name: "a", Paths: []layout.StorePath{path(name)}})
			return err
		}, nil
	}}
}

// early is a program that copies files: the narinfo first, which waits.
func early(name string) actor {
	return actor{name: "copy the files of " + name, pushes: []string{name}, open: func(f *fixture, tree layout.Tree) (func(context.Context) error, error) {
		b, err := openInbox(f, tree)
		return func(ctx context.Context) error {
			n := f.infos[name]
			nar, _ := n.NARKey()
			for _, key := range []layout.Key{layout.NarInfoKey(n.Path), nar} {
				if _, err := b.Put(ctx, key, bytes.NewReader(f.objects[key]), inbox.Options{Size: -1}); err != nil {
					return err
				}
			}
			return nil
		}, err
	}}
}
