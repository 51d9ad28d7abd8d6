package layout

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

// FuzzSweepPlan: a plan that is understood says the same when it is written again, and
// names no object outside of its folders.
func FuzzSweepPlan(f *testing.F) {
	for _, seed := range []string{`{}`, `{"epoch":1,"nonce":"n","keepYoung":60}`, `{"closed":true}`,
		`{"state":"condemned","round":"00000001-A","slices":3,"late":3480}`, `{"state":"sweeping","round":"r","slices":3,"slice":2,"known":1,"lease":1}`,
		`{"state":"sweeping","round":"../x","slices":1,"slice":1}`, `{"state":"else"}`, `{"slices":-1}`, `{"at":"2030-01-02T03:04:05Z"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		plan, err := ParseSweepPlan(text)
		if err != nil {
			return
		}
		if plan.State != SweepIdle {
			if _, err := ParseKey(string(SweepListKey(plan.Round, 1))); err != nil {
				t.Errorf("the list of round %q: %v", plan.Round, err)
			}
		}
		if plan.Slices > maxSlices || plan.Fence() < 0 || plan.Abandoned() < 0 {
			t.Errorf("%+v", plan)
		}
		again, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		second, err := ParseSweepPlan(again)
		if err != nil || !second.At.Equal(plan.At) {
			t.Fatalf("%s is written as %s: %v", text, again, err)
		}
		second.At = plan.At
		if second != plan {
			t.Errorf("%+v is read again as %+v", plan, second)
		}
	})
}

// FuzzSweepList: a list that is understood names what it names after it was written again.
func FuzzSweepList(f *testing.F) {
	list := SweepList{{CondemnedKeyOf("nix-cache-info"), 7}, {CondemnedKeyOf("index.html"), 0}}
	f.Add(list.Marshal())
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{1}, condemnedSize*2))
	f.Add(append(bytes.Repeat([]byte{2}, condemnedSize), make([]byte, condemnedSize)...))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseSweepList(text)
		if err != nil {
			return
		}
		again, err := parseSweepList(list.Marshal())
		if err != nil || len(again) != len(list) {
			t.Fatalf("%d entries are read again as %d: %v", len(list), len(again), err)
		}
		for _, c := range list {
			if !again.has(c.Key) || !slices.Contains(again, c) {
				t.Errorf("%v is lost", c)
			}
		}
	})
}

// FuzzSweepNote: a note names keys alone, one on each line.
func FuzzSweepNote(f *testing.F) {
	f.Add([]byte("nix-cache-info\nindex.html\n"))
	f.Add([]byte("../etc/passwd\n"))
	f.Add([]byte("a\r\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ParseSweepNote(text)
		if err != nil {
			return
		}
		for _, key := range keys {
			if again, err := ParseKey(string(key)); err != nil || again != key {
				t.Errorf("%q is no key: %v", key, err)
			}
		}
		if lines := len(slices.Collect(bytes.Lines(text))); lines != len(keys) {
			t.Errorf("%d lines are %d keys", lines, len(keys))
		}
	})
}
