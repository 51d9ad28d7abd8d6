package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Get opens an object as its uploader knows it.
//
// Get, Stat and List show the tree as a program expects it that copies files:
// with what is held, and records as they were sent where the tree's own have
// gained signatures. They are for clients of the upload URL other than Nix, which
// gets ForNix. Nothing private is shown, and no NAR that is known to be damaged.
func (b *Inbox) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if !key.Kind().Public() {
		return nil, layout.Info{}, fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	ctx = as(ctx)
	n := b.noteOn(ctx, key)
	if n != nil {
		if show, err := b.shows(ctx, key, n); show || err != nil {
			if err != nil {
				n.body.release()
				return nil, layout.Info{}, err
			}
			return &lentReader{io.NewSectionReader(n.body, 0, n.body.Size()), n.body.release}, n.info(key), nil
		}
		n.body.release()
	}
	body, info, err := (sound{b}).Get(ctx, key)
	if errors.Is(err, fs.ErrNotExist) && b.heldInfo(ctx, key) != nil {
		body, info, err = b.writer.Tree.Get(ctx, heldKey(key.PathHash(), share.From(ctx)))
		info = layout.Info{Key: key, Size: info.Size, ModTime: info.ModTime} // as heldInfo tells it
	}
	return body, info, err
}

// Stat describes what Get returns.
func (b *Inbox) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if !key.Kind().Public() {
		return layout.Info{}, fmt.Errorf("stat %s: %w", key, fs.ErrNotExist)
	}
	ctx = as(ctx)
	if n := b.noteOn(ctx, key); n != nil {
		defer n.body.release()
		if show, err := b.shows(ctx, key, n); show || err != nil {
			return n.info(key), err
		}
	}
	info, err := (sound{b}).Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		if held := b.heldInfo(ctx, key); held != nil {
			return *held, nil
		}
	}
	return info, err
}

// shows reports whether the note tells more than the tree does.
func (b *Inbox) shows(ctx context.Context, key layout.Key, n *note) (bool, error) {
	if n.why == early {
		return true, nil
	}
	info, err := b.writer.Tree.Stat(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return n.why == placeholder && b.heldInfo(ctx, key) == nil, nil
	case err != nil:
		return false, err
	}
	return n.why == echo && n.object.Size == info.Size && n.object.ETag == info.ETag, nil
}

// sentTag begins the version of a note. No tree has such versions.
const sentTag = "sent-"

// info describes what was sent. It has a version, as a client may say which one it
// replaces.
func (n *note) info(key layout.Key) layout.Info {
	return layout.Info{Key: key, Size: n.body.Size(), ModTime: n.at, ETag: fmt.Sprintf("%s%x", sentTag, n.at.UnixNano())}
}

// heldInfo returns what a narinfo looks like that is held for the client, nil if
// none is.
func (b *Inbox) heldInfo(ctx context.Context, key layout.Key) *layout.Info {
	if key.Kind() != layout.KindNarInfo {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.held[heldKey(key.PathHash(), share.From(ctx))]
	if h == nil {
		return nil
	}
	return &layout.Info{Key: key, Size: h.info.Size, ModTime: h.info.ModTime}
}

// OpenRange opens a part of what Get opens.
func (b *Inbox) OpenRange(ctx context.Context, version layout.Info, from, to int64) (io.ReadCloser, error) {
	if version.ETag != "" && !strings.HasPrefix(version.ETag, sentTag) {
		return (sound{b}).OpenRange(ctx, version, from, to)
	}
	// A note, or a narinfo that waits, is small.
	return layout.OpenRange(ctx, struct{ layout.Reader }{b}, version, from, to)
}

// Traits are those of the tree.
func (b *Inbox) Traits() layout.Traits { return layout.TraitsOf(b.writer.Tree) }

// List yields what Get knows, as layout.Tree's List does.
func (b *Inbox) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return b.over(ctx, b.writer.Tree.List(ctx, prefix), prefix)
}

// ListTop yields what List does, without going through the folders of the tree.
func (b *Inbox) ListTop(ctx context.Context) iter.Seq2[layout.TopEntry, error] {
	return layout.ListTop(ctx, topOf{struct{ layout.Reader }{b}, b})
}

// A topOf is an inbox in whose listing each folder of the tree stands for what is in it.
type topOf struct {
	layout.Reader
	inbox *Inbox
}

func (t topOf) List(ctx context.Context, _ string) iter.Seq2[layout.Info, error] {
	return t.inbox.over(ctx, func(yield func(layout.Info, error) bool) {
		for e, err := range layout.ListTop(ctx, t.inbox.writer.Tree) {
			if e.Folder != "" {
				e.Info.Key = layout.Key(e.Folder)
			}
			if !yield(e.Info, err) {
				return
			}
		}
	}, "")
}

// over yields what Get knows of the keys with a prefix, where the tree has these.
func (b *Inbox) over(ctx context.Context, tree iter.Seq2[layout.Info, error], prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		ours, err := b.unseen(as(ctx), prefix)
		if err != nil {
			yield(layout.Info{}, err)
			return
		}
		for info, err := range tree {
			if err != nil {
				yield(info, err)
				return
			}
			folder := strings.HasSuffix(string(info.Key), "/") // see topOf
			if !folder && (!info.Key.Kind().Public() || b.damaged.has(info)) {
				continue
			}
			for len(ours) > 0 && ours[0].info.Key < info.Key {
				if ours[0].alone && !yield(ours[0].info, nil) {
					return
				}
				ours = ours[1:]
			}
			if len(ours) > 0 && ours[0].info.Key == info.Key {
				if ours[0].instead(info) {
					info = ours[0].info
				}
				ours = ours[1:]
			}
			if !yield(info, nil) {
				return
			}
		}
		for _, o := range ours {
			if o.alone && !yield(o.info, nil) {
				return
			}
		}
	}
}

// An unseen is an object that readers do not see, or not so.
type unseen struct {
	info  layout.Info
	alone bool        // shown where the tree has none
	over  bool        // shown in the place of any that the tree has
	echo  layout.Info // shown in the place of this one
}

func (o *unseen) instead(info layout.Info) bool {
	return o.over || o.echo.Key != "" && o.echo.Size == info.Size && (info.ETag == "" || o.echo.ETag == info.ETag)
}

// unseenInLookup is how many things that a client sent count as a lookup, when they are
// looked through: everyone waits meanwhile.
const unseenInLookup = 32

// unseen returns them in the order of their keys. It looks at what the client itself
// sent and nothing else.
func (b *Inbox) unseen(ctx context.Context, prefix string) ([]unseen, error) {
	if err := b.afford(ctx, 0); err != nil {
		return nil, err
	}
	client := share.From(ctx)
	list, n := b.sentAhead(client, prefix)
	b.lookups.Charge(client, n/unseenInLookup)
	slices.SortStableFunc(list, func(x, y unseen) int { return strings.Compare(string(x.info.Key), string(y.info.Key)) })
	return slices.CompactFunc(list, func(x, y unseen) bool { return x.info.Key == y.info.Key }), nil
}

// sentAhead returns what a client sent, what is held before notes, and how much was
// looked through.
func (b *Inbox) sentAhead(client share.Client, prefix string) (list []unseen, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	held := b.heldBy[client]
	if strings.Contains(prefix, "/") {
		held = heldSet{} // narinfos are at the top
	}
	list = make([]unseen, 0, len(held.more))
	for h := range held.all {
		if n++; strings.HasPrefix(string(h.key), prefix) {
			list = append(list, unseen{info: layout.Info{Key: h.key, Size: h.info.Size, ModTime: h.info.ModTime}, alone: true})
		}
	}
	for s, sent := range b.notes.of(client) {
		if n++; strings.HasPrefix(string(s.key), prefix) {
			list = append(list, unseen{info: sent.info(s.key), alone: sent.why != echo, over: sent.why == early, echo: sent.object})
		}
	}
	return list, n
}

// lentReader gives its body back when it is closed.
type lentReader struct {
	*io.SectionReader
	release func()
}

// Close gives the body back.
func (l *lentReader) Close() error {
	if l.release != nil {
		l.release()
		l.release = nil
	}
	return nil
}

var _ layout.Reader = (*Inbox)(nil)
