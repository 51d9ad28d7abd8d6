package gc_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/layout/uses"
)

// readOn has a log tell that objects were read so many days ago.
func readOn(t *testing.T, tree layout.Tree, days int, keys ...layout.Key) {
	t.Helper()
	at := time.Now().AddDate(0, 0, -days).Format("02/Jan/2006:15:04:05 -0700")
	var log uses.Log
	for _, key := range keys {
		if err := log.Add(strings.NewReader("192.0.2.1 - - [" + at + "] \"GET /" + string(key) + " HTTP/1.1\" 200 1\n")); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Write(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
}

// A path that was read lately stays, whether its narinfo was read or its NAR.
func TestCollectKeepsWhatIsUsed(t *testing.T) {
	tree, c := populated(t)
	app := c.Named("app").Info.Path
	nar, err := treetest.Record(t, tree, "env").NARKey()
	if err != nil {
		t.Fatal(err)
	}
	readOn(t, tree, 20, layout.NarInfoKey(app))
	readOn(t, tree, 3, nar)
	readOn(t, tree, 40, layout.NarInfoKey(c.Named("lib-debug").Info.Path))
	readOn(t, tree, 500, layout.NarInfoKey(c.Named("twin").Info.Path))
	age(t, tree, 600)
	o := now()
	o.NoPins = true
	o.Policy = policy(t, "keep used 30d")
	run, plan := collect(t, tree, o)
	have := strings.Join(names(t, tree), " ")
	if have != "app builder.sh env flat lib source" || run.Withdrawn.Count != 3 {
		t.Errorf("%s stay, and %+v went", have, run)
	}
	var used gc.Root
	for _, r := range plan.Roots {
		if r.Kind == "used" {
			used = r
		}
	}
	if days := time.Since(used.LastUsed).Hours() / 24; days > 4 || days < 1 {
		t.Errorf("used %s ago", time.Since(used.LastUsed))
	}
	for day := range uses.Read(t.Context(), tree, time.Time{}) {
		if day.Day.Before(time.Now().AddDate(0, 0, -410)) {
			t.Errorf("%s is remembered still", day.Day)
		}
	}
	// Use only keeps: a pinned path stays without it.
	pin(t, tree, "host", c.Named("env").Info.Path)
	o.Policy = policy(t, "keep pins\nkeep used 1d")
	collect(t, tree, o)
	treetest.Record(t, tree, "env")
}

// An account of reads that makes no sense stops a run.
func TestCollectStopsAtABadAccount(t *testing.T) {
	tree, c := populated(t)
	pin(t, tree, "host", c.Named("app").Info.Path)
	treetest.PutText(t, tree, layout.UsedPrefix+layout.Key(time.Now().Format(time.DateOnly))+"/x", "{\"version\":1")
	if _, err := gc.Collect(t.Context(), tree, now(), nil); err == nil || errors.Is(err, gc.ErrNoRoots) {
		t.Errorf("%v", err)
	}
}

// The run that was read last stays where there is room for one.
func TestMaxSizeGoesByUse(t *testing.T) {
	f := newForest(t, 8)
	long := time.Now().AddDate(0, -3, 0)
	a, b := f.grow(long, 3000), f.grow(long, 3000)
	ran(t, f, "acme@1", a)
	ran(t, f, "acme@2", b)
	readOn(t, f, -1, layout.NarInfoKey(a)) // tomorrow: after the runs
	o := gc.Options{MaxRemoval: 1, Policy: policy(t, "keep roots * all\nmax-size 5kB"), Now: func() time.Time { return time.Now().AddDate(0, 0, 2) }}
	_, plan := f.collect(o)
	want(t, plan.ForSize, []string{"root acme@2"})
}
