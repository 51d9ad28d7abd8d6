package inbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// A flip is damage that leaves the size as it is.
func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }

// A NAR that is sent once more takes the place of the one that is there, whatever
// is remembered of that: a disk may have lost bytes since.
func TestResentNARMends(t *testing.T) {
	s := newSample(t)
	for _, published := range []bool{false, true} {
		tr := newTrial(t, nil)
		nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
		tr.must(nar, s.objects[nar], true, Created)
		if published {
			tr.must(key, s.objects[key], true, Created)
		}
		tr.mem.Rot(nar, flip)
		tr.must(nar, s.objects[nar], false, Unchanged)
		if got := contents(t, tr.tree)[nar]; got != s.objects[nar] {
			t.Errorf("published %v: not mended", published)
		}
		if _, err := tr.send(key, s.objects[key], true); err != nil {
			t.Error(err)
		}
		if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true}); err != nil {
			t.Errorf("published %v: %v", published, err)
		}
	}
}

// A client that is faster with a NAR may be another process, whose disk lost
// bytes, or a program that wrote what it liked.
func TestFasterNARIsReplaced(t *testing.T) {
	s := newSample(t)
	for name, edit := range map[string]func([]byte) []byte{
		"same":    func(b []byte) []byte { return b },
		"flipped": flip,
		"cut":     func(b []byte) []byte { return b[:len(b)-1] },
	} {
		tr := newTrial(t, nil)
		nar := s.nar(t, "flat")
		tr.Inbox.writer.Tree = &overtaken{Tree: tr.mem, key: nar, first: func() {
			tr.mem.Damage(nar, func([]byte) []byte { return edit([]byte(s.objects[nar])) })
		}}
		if outcome, err := tr.send(nar, s.objects[nar], true); err != nil || outcome == Created {
			t.Errorf("%s: %v, %v", name, outcome, err)
		}
		if got := contents(t, tr.mem)[nar]; got != s.objects[nar] {
			t.Errorf("%s: the other one stays", name)
		}
	}
}

// overtaken is a tree in which someone else puts an object between the look for
// it and the Put.
type overtaken struct {
	layout.Tree
	key   layout.Key
	first func()
}

func (o *overtaken) Put(ctx context.Context, key layout.Key, body layout.Body, opts layout.PutOptions) error {
	if key == o.key && o.first != nil {
		o.first()
		o.first = nil
	}
	return o.Tree.Put(ctx, key, body, opts)
}

// A store that names versions by the bytes that it was given does not see that it
// lost some: a NAR that was sent again is sound though its description is the old
// one.
func TestMendedUnderTheSameVersion(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	tr.Inbox.writer.Tree = &versionless{tr.mem}
	tr.must(nar, s.objects[nar], true, Created)
	tr.mem.Rot(nar, flip)
	tr.restart()
	tr.Inbox.writer.Tree = &versionless{tr.mem}
	tr.refused(key, s.objects[key], true, MissingNAR)
	tr.must(nar, s.objects[nar], true, Replaced)
	if _, err := tr.ForNix().Stat(t.Context(), nar); err != nil {
		t.Errorf("a NAR that was mended: %v", err)
	}
	tr.must(key, s.objects[key], true, Created)
}

// versionless is a tree whose descriptions do not tell versions of one size apart.
type versionless struct{ layout.Tree }

func (v *versionless) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, info, err := v.Tree.Get(ctx, key)
	if key.Kind() == layout.KindNAR {
		info.ETag = "v"
	}
	return body, info, err
}

func (v *versionless) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	info, err := v.Tree.Stat(ctx, key)
	if key.Kind() == layout.KindNAR {
		info.ETag = "v"
	}
	return info, err
}

// A Nix sends nothing of a path whose narinfo it is told of. So it is told only of
// those that lead to a NAR, and what it then sends mends the tree.
func TestForNixShowsWhatLeads(t *testing.T) {
	s := newSample(t)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	gone := func([]byte) []byte { return nil }
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	for name, test := range map[string]struct {
		damage func(tr *trial)
		shown  bool
	}{
		"whole":         {func(*trial) {}, true},
		"NAR gone":      {func(tr *trial) { tr.mem.Damage(nar, gone) }, false},
		"NAR cut":       {func(tr *trial) { tr.mem.Damage(nar, cut) }, false},
		"narinfo empty": {func(tr *trial) { tr.mem.Damage(key, func([]byte) []byte { return []byte{} }) }, false},
		"narinfo cut":   {func(tr *trial) { tr.mem.Damage(key, func(b []byte) []byte { return b[:40] }) }, false},
		"another's": {func(tr *trial) {
			tr.mem.Damage(key, func([]byte) []byte { return []byte(s.objects[layout.NarInfoKey(s.path("source"))]) })
		}, false},
		"narinfo gone": {func(tr *trial) { tr.mem.Damage(key, gone) }, false},
		"known damage": {func(tr *trial) {
			tr.mem.Damage(nar, flip)
			tr.restart()
			listing := layout.ListingKey(s.path("flat")) // which cannot be compared with that NAR
			tr.mem.Damage(listing, gone)
			tr.must(listing, s.objects[listing], false, Held)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrial(t, nil)
			tr.must(nar, s.objects[nar], true, Created)
			tr.must(key, s.objects[key], true, Created)
			tr.restart()
			test.damage(tr)
			shown := func() bool {
				t.Helper()
				_, stat := tr.ForNix().Stat(t.Context(), key)
				body, info, get := tr.ForNix().Get(t.Context(), key)
				if (stat == nil) != (get == nil) || get != nil && !errors.Is(get, fs.ErrNotExist) || stat != nil && !errors.Is(stat, fs.ErrNotExist) {
					t.Fatalf("stat: %v, get: %v", stat, get)
				}
				// A client that asks for many paths at once is told the same.
				stored, err := tr.Stored(t.Context(), []string{key.PathHash(), strings.Repeat("0", 32)})
				if err != nil || stored[0] != (get == nil) || stored[1] {
					t.Errorf("of many: %v, %v, and of one: %v", stored, err, get)
				}
				if get != nil {
					return false
				}
				defer body.Close()
				if text, err := io.ReadAll(body); err != nil || int64(len(text)) != info.Size || string(text) != s.objects[key] {
					t.Errorf("shown are %d bytes of %d: %v", len(text), info.Size, err)
				}
				return true
			}
			if shown() != test.shown {
				t.Fatalf("shown: %v", !test.shown)
			}
			// A Nix then does this.
			if !test.shown {
				if _, err := tr.ForNix().Stat(t.Context(), nar); err != nil {
					tr.send(nar, s.objects[nar], true)
				}
				if _, err := tr.send(key, s.objects[key], true); err != nil {
					t.Error(err)
				}
			}
			if !shown() {
				t.Error("not mended")
			}
			if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{Deep: true}); err != nil {
				t.Error(err)
			}
		})
	}
}

// When it cannot be told whether a narinfo leads anywhere, no client is told that
// it does not (I5).
func TestForNixCannotTell(t *testing.T) {
	s := newSample(t)
	faulty := &treetest.Faulty{}
	tr := newTrial(t, nil)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	tr.must(nar, s.objects[nar], true, Created)
	tr.must(key, s.objects[key], true, Created)
	faulty.Tree = tr.mem
	tr.Inbox.writer.Tree = faulty
	for at := 1; at <= 2; at++ {
		faulty.Fault = treetest.Fault{At: faulty.Ops() + at}
		if _, err := tr.ForNix().Stat(t.Context(), key); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("operation %d fails: %v", at, err)
		}
		faulty.Fault = treetest.Fault{At: faulty.Ops() + at}
		if stored, err := tr.Stored(t.Context(), []string{key.PathHash()}); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("operation %d fails: %v, %v", at, stored, err)
		}
	}
}

// A nix-cache-info that no client can read any more is written anew.
func TestBrokenCacheInfo(t *testing.T) {
	for _, broken := range []string{"", "<html>", "StoreDir: nowhere\n", strings.Repeat(" ", int(layout.KindCacheInfo.MaxBytes())+1)} {
		tr := newTrial(t, nil)
		ours := string(layout.DefaultCacheInfo().Marshal())
		tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Unchanged)
		tr.mem.Damage(layout.CacheInfoKey, func([]byte) []byte { return []byte(broken) })
		tr.must(layout.CacheInfoKey, "StoreDir: /nix/store\n", true, Replaced)
		if got := contents(t, tr.tree)[layout.CacheInfoKey]; got != ours {
			t.Errorf("%.20q became %q", broken, got)
		}
	}
}
