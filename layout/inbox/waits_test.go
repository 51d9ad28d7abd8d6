package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/fsck"
	"github.com/nixstatic/nixstatic/layout/share"
)

// Narinfos of others that wait for a path cost nothing to the client that brings
// it, and are published all the same.
func TestOthersWait(t *testing.T) {
	s := newSample(t)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	cost := map[int]int{}
	for _, waiting := range []int{0, 200} {
		tr := newTrial(t, nil)
		ops := &perClient{Tree: tr.mem}
		tr.Inbox.writer.Tree = ops
		for i := range waiting {
			key, text := s.invented(t, i, s.path("flat"))
			tr.mustAs("attacker", key, text, Held)
		}
		tr.mustAs("honest", nar, s.objects[nar], Created)
		tr.mustAs("honest", key, s.objects[key], Created)
		ops.mu.Lock()
		cost[waiting] = ops.ops[share.From(as(share.As(t.Context(), "honest")))]
		ops.mu.Unlock()
		for tr.Waiting() > 0 {
			time.Sleep(time.Millisecond)
		}
		for i := range waiting {
			if _, err := tr.mem.Stat(t.Context(), layout.NarInfoKey(inventedPath(i))); err != nil {
				t.Fatal(err)
			}
		}
		if err := fsck.Whole(t.Context(), tr.tree, fsck.Options{}); err != nil {
			t.Error(err)
		}
	}
	if cost[0] == 0 || cost[200] != cost[0] {
		t.Errorf("with others waiting the honest client's uploads cost %d operations, without %d", cost[200], cost[0])
	}
}

// Narinfos that a client itself has waiting are published when its upload is
// answered, as far as that does not take long.
func TestOwnWait(t *testing.T) {
	s := newSample(t)
	tr := newTrial(t, nil)
	nar, key := s.nar(t, "flat"), layout.NarInfoKey(s.path("flat"))
	for i := range maxOwn {
		key, text := s.invented(t, i, s.path("flat"))
		tr.mustAs("ci", key, text, Held)
	}
	tr.mustAs("ci", nar, s.objects[nar], Created)
	tr.mustAs("ci", key, s.objects[key], Created)
	if n := tr.Waiting(); n != 0 {
		t.Errorf("%d are not published", n)
	}
}

// The background takes from each client in its turn.
func TestQueueTurns(t *testing.T) {
	var q queue
	for i := range 3 {
		for j, client := range []share.Client{"a", "b", "c"} {
			if i <= j {
				h := &held{client: client, at: layout.Key(fmt.Sprint(client, i))}
				q.push(h)
				q.push(h)
			}
		}
	}
	if h := q.popOf("c"); h.at != "c0" {
		t.Errorf("the first of c is %s", h.at)
	}
	var order []string
	for h := q.pop(anyone); h != nil; h = q.pop(anyone) {
		order = append(order, string(h.at))
	}
	if diff := cmp.Diff([]string{"a0", "b0", "c1", "b1", "c2"}, order); diff != "" {
		t.Errorf("the turns (-want +got):\n%s", diff)
	}
	if q.popOf("a") != nil || len(q.lines)+len(q.turns) != 0 {
		t.Errorf("left over: %v", q)
	}
}
