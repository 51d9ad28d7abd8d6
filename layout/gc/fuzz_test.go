package gc

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/refgraph"
)

// FuzzMemory: whatever is in a memory, its reader ends, and makes up no path.
func FuzzMemory(f *testing.F) {
	nar := refgraph.NARID{4}
	v := &view{gone: set{0}, leads: map[int32][]refgraph.NARID{0: {nar, {5}}}, paths: []pathEntry{{id: refgraph.PathID{1}, tag: 7}, {id: refgraph.PathID{2}, tag: 9}}, ghosts: []refgraph.PathID{{3}},
		from: []uint32{0, 0}, nar: []int32{-1, -1}, drv: []uint64{5, 0}, nars: []narEntry{{id: nar, born: 3, tag: 4, size: 5}},
		others: []otherEntry{{key: "debuginfo/x", tag: 3, lead: nowhere}}}
	v.paths[0].listing, v.paths[0].born, v.paths[0].listingSize = 8, 2, 6
	v.refs.add(0)
	var refs []int32
	v.from[0], refs = v.refs.add(2)
	copy(refs, []int32{1, 2})
	var b bytes.Buffer
	w := bufio.NewWriter(&b)
	v.writeMemory(w)
	w.Flush()
	f.Add(b.Bytes())
	f.Add([]byte(memoryMagic + "\xff\xff\xff\xff\x07"))
	m := openMemory(bytes.NewReader(b.Bytes()), int64(b.Len()))
	key := v.paths[0].id.ListingKey()
	if got, ok := m.listing(key); !ok || got != (sighting{key: key, born: 2, tag: 8, size: 6, named: true, narinfo: 7}) {
		f.Fatalf("of a listing it says %+v, %v", got, ok)
	}
	if got, ok := m.listing(v.paths[1].id.ListingKey()); ok {
		f.Fatalf("of one that is not there it says %+v", got)
	}
	if got, ok := m.nar(nar.Key()); !ok || got != (sighting{key: nar.Key(), born: 3, tag: 4, size: 5, named: true}) {
		f.Fatalf("of a NAR it says %+v, %v", got, ok)
	}
	if got, ok := m.nar((refgraph.NARID{5}).Key()); ok {
		f.Fatalf("of a NAR that is not there it says %+v", got)
	}
	known := m.path(v.paths[0])
	l := m.known()
	if !known || len(l.refs) != 2 || l.refs[1] != v.ghosts[0] || l.drv != 5 || len(l.nars) != 2 || l.nars[0] != nar {
		f.Fatalf("a memory that was just written has %+v, %v", l, known)
	}
	for o := range m.rest() {
		if o.key != "debuginfo/x" || o.lead != nowhere {
			f.Fatalf("and beside the paths %+v", o)
		}
	}
	if m.err != nil || m.next != 2 {
		f.Fatalf("it ended with %v after %d paths", m.err, m.next)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m := openMemory(bytes.NewReader(text), int64(len(text)))
		for i := range 4 {
			m.listing((refgraph.PathID{byte(i)}).ListingKey())
			m.nar((refgraph.NARID{byte(i)}).Key())
		}
		for i := range 4 {
			if m.path(pathEntry{id: refgraph.PathID{byte(i)}, tag: 7}) && len(m.known().refs) != len(m.at) {
				t.Error("known, and not what is known")
			}
		}
		for range m.rest() {
		}
	})
}

// FuzzWithdrawn: a record yields keys of narinfos and realisations alone.
func FuzzWithdrawn(f *testing.F) {
	f.Add([]byte(`{"key":"00000000000000000000000000000000.narinfo","text":"StorePath: x\n"}` + "\n"))
	f.Add([]byte(`{"key":"nix-cache-info","text":""}` + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for w, err := range readWithdrawn(bytes.NewReader(text)) {
			if kind := w.Key.Kind(); err == nil && kind != layout.KindNarInfo && kind != layout.KindRealisation {
				t.Errorf("a record of %q", w.Key)
			}
		}
	})
}

// FuzzPin: a pin that is read can be written, and reads the same again.
func FuzzPin(f *testing.F) {
	f.Add([]byte(`{"keepLast": 2, "generations": [{"number": 1, "time": "2030-01-02T03:04:05Z", "paths": ["00000000000000000000000000000000-x"]}]}`))
	f.Add([]byte(`{"generations": []}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		pin, err := parsePin("a", text)
		if err != nil {
			return
		}
		again, err := json.Marshal(pin)
		if err != nil {
			return // a time that JSON cannot say
		}
		if _, err := parsePin("a", again); err != nil {
			t.Errorf("%s becomes %s: %v", text, again, err)
		}
	})
}

// FuzzDocket: a docket is in order, whatever it was read from.
func FuzzDocket(f *testing.F) {
	f.Add([]byte("0123456789ab0123456789ac"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := parseDocket(bytes.NewReader(text))
		if err != nil {
			t.Error(err)
		}
		for i := 1; i < len(d); i++ {
			if d[i-1].object >= d[i].object {
				t.Error("out of order")
			}
		}
	})
}

// FuzzPinName: a name that is accepted makes a key of its own kind.
func FuzzPinName(f *testing.F) {
	for _, name := range []string{"host-a", "a/b", "..", "a//b", "", "a/../b", strings.Repeat("a", 300)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if layout.CheckPinName(name) != nil {
			return
		}
		key, err := layout.ParseKey(string(layout.PinKey(name)))
		if err != nil || key.Kind() != layout.KindPin {
			t.Errorf("%q: %v, %s", name, err, key.Kind())
		}
		if _, err := layout.ParseKey(string(historyKey(name))); err != nil {
			t.Error(err)
		}
	})
}
