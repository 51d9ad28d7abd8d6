package inbox

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/share"
)

// A stuckTree stands still for one client where it looks for some keys, and tells when
// that client reads a record.
type stuckTree struct {
	layout.Tree
	of    share.Client
	at    map[layout.Key]bool
	begun chan bool
}

func (s *stuckTree) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	if s.at[key] && share.From(ctx) == s.of {
		<-ctx.Done()
		return layout.Info{}, context.Cause(ctx)
	}
	return s.Tree.Stat(ctx, key)
}

func (s *stuckTree) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	if share.From(ctx) == s.of && key.Kind() == layout.KindNarInfo {
		select {
		case s.begun <- true:
		default:
		}
	}
	return s.Tree.Get(ctx, key)
}

// A client whose upload waits, for room in memory that it has used up or for answers about
// its references, keeps no other from the same path and the same NAR.
func TestNoLockIsHeldInWaiting(t *testing.T) {
	s := newSample(t)
	a, b := share.As(t.Context(), "attacker"), share.As(t.Context(), "honest")
	var stuck *stuckTree
	open := func(t *testing.T, edit func(*Config)) *trial {
		stuck = &stuckTree{of: share.From(as(a)), at: map[layout.Key]bool{}, begun: make(chan bool, 1)}
		return newTrial(t, func(c *Config) {
			w := *c.Writer
			stuck.Tree, w.Tree = w.Tree, stuck
			c.Writer = &w
			if edit != nil {
				edit(c)
			}
		})
	}
	flat, nar := layout.NarInfoKey(s.path("flat")), s.nar(t, "flat")
	for name, prepare := range map[string]func(t *testing.T) (tr *trial, key layout.Key, attack, honest string){
		"room for a record": func(t *testing.T) (*trial, layout.Key, string, string) {
			tr := open(t, nil)
			key := tr.putLarge(t, s)
			room, err := tr.stored.Take(as(a), storedMemory/2)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(room.Release)
			return tr, key, s.objects[key], s.objects[key]
		},
		"room for what is published around it": func(t *testing.T) (*trial, layout.Key, string, string) {
			tr := open(t, nil)
			key, nar := layout.NarInfoKey(s.path("lib-debug")), s.nar(t, "lib-debug")
			tr.must(nar, s.objects[nar], true, Created)
			room, err := tr.Inbox.writer.Memory.Take(as(a), layout.DecoderMemory/2)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(room.Release)
			return tr, key, s.objects[key], s.objects[key]
		},
		"references": func(t *testing.T) (*trial, layout.Key, string, string) {
			tr := open(t, nil)
			tr.must(nar, s.objects[nar], true, Created)
			n := s.narInfo(t, "flat")
			for i := range 3 * statJobs {
				n.References = append(n.References, inventedPath(i))
				if i < 2*statJobs {
					key, text := s.invented(t, i)
					tr.must(key, text, true, Created)
				} else {
					stuck.at[layout.NarInfoKey(inventedPath(i))] = true
				}
			}
			n.Sigs, n.CA = nil, ""
			return tr, flat, string(n.Marshal(layout.DefaultStoreDir)), s.objects[flat]
		},
		"an upstream": func(t *testing.T) (*trial, layout.Key, string, string) {
			tr := open(t, func(c *Config) {
				c.Provided = func(ctx context.Context, _ layout.StorePath) (bool, error) {
					<-ctx.Done()
					return false, context.Cause(ctx)
				}
			})
			tr.must(nar, s.objects[nar], true, Created)
			n := s.narInfo(t, "flat")
			n.Sigs, n.CA, n.References = nil, "", []layout.StorePath{inventedPath(1)}
			return tr, flat, string(n.Marshal(layout.DefaultStoreDir)), s.objects[flat]
		},
	} {
		t.Run(name, func(t *testing.T) {
			tr, key, attack, honest := prepare(t)
			for range len(stuck.begun) {
				<-stuck.begun
			}
			attacking, stop := context.WithCancel(a)
			ended := make(chan error)
			go func() {
				_, err := tr.Put(attacking, key, strings.NewReader(attack), Options{Size: -1})
				ended <- err
			}()
			<-stuck.begun
			time.Sleep(20 * time.Millisecond)
			ctx, cancel := context.WithTimeout(b, 10*time.Second)
			defer cancel()
			if _, err := tr.Put(ctx, key, strings.NewReader(honest), Options{Size: -1}); err != nil && reasonOf(err) != Conflict {
				t.Errorf("another client has to wait: %v", err)
			}
			select {
			case err := <-ended:
				t.Errorf("the client did not wait: %v", err)
				stop()
			default:
				stop()
				<-ended
			}
		})
	}
}
