package bundle

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

const goodHead = `{"version":1,"id":"0123456789abcdef0123456789abcdef","part":1,"storeDir":"/nix/store"}`

// made is a bundle of these members, with head and sums.
func made(t testing.TB, head string, members ...tar.Header) []byte {
	t.Helper()
	return madeWith(t, head, "x", members...)
}

// madeWith is made with members of that text.
func madeWith(t testing.TB, head, text string, members ...tar.Header) []byte {
	t.Helper()
	var b, sums bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, text []byte) {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(text))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write(text)
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(text), h.Name)
	}
	put(tar.Header{Name: headName}, []byte(head))
	for _, h := range members {
		put(h, []byte(text))
	}
	put(tar.Header{Name: sumsName}, bytes.Clone(sums.Bytes()))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func openText(text []byte) error {
	_, err := Open(File{"b.tar", bytes.NewReader(text), int64(len(text))})
	return err
}

// A file that Write does not write is refused before anything of it is used.
func TestHostile(t *testing.T) {
	const hash = "00000000000000000000000000000000"
	if err := openText(made(t, goodHead, tar.Header{Name: "nix-cache-info"}, tar.Header{Name: hash + ".narinfo"})); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, text := range map[string][]byte{
		"nothing":               nil,
		"rubbish":               []byte(strings.Repeat("rubbish ", 1000)),
		"no head":               made(t, goodHead)[1024:],
		"head of no version":    made(t, `{"id":"0123456789abcdef0123456789abcdef","part":1,"storeDir":"/nix/store"}`),
		"head without a number": made(t, strings.Replace(goodHead, `"part":1`, `"part":0`, 1)),
		"too many parts":        made(t, strings.Replace(goodHead, `"part":1`, `"part":1000000000`, 1)),
		"odd store directory":   made(t, strings.Replace(goodHead, "/nix/store", "store", 1)),
		"head is no JSON":       made(t, "<html>"),
		"huge head":             made(t, goodHead+strings.Repeat(" ", maxHead)),
		"two heads":             made(t, goodHead, tar.Header{Name: headName}),
		"leads out":             made(t, goodHead, tar.Header{Name: "../" + hash + ".narinfo"}),
		"absolute":              made(t, goodHead, tar.Header{Name: "/etc/passwd"}),
		"in a folder":           made(t, goodHead, tar.Header{Name: "./" + hash + ".narinfo"}),
		"private":               made(t, goodHead, tar.Header{Name: ".nixstatic/upstreams"}),
		"pin":                   made(t, goodHead, tar.Header{Name: "pins/main"}),
		"page":                  made(t, goodHead, tar.Header{Name: "index.html"}),
		"twice":                 made(t, goodHead, tar.Header{Name: hash + ".narinfo"}, tar.Header{Name: hash + ".narinfo"}),
		"link":                  made(t, goodHead, tar.Header{Name: hash + ".narinfo", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}),
		"hard link":             made(t, goodHead, tar.Header{Name: hash + ".narinfo", Typeflag: tar.TypeLink, Linkname: "nix-cache-info"}),
		"folder":                made(t, goodHead, tar.Header{Name: "nar/", Typeflag: tar.TypeDir}),
		"device":                made(t, goodHead, tar.Header{Name: hash + ".narinfo", Typeflag: tar.TypeChar}),
		"attribute":             made(t, goodHead, tar.Header{Name: hash + ".narinfo", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}),
		"piece of no NAR":       made(t, goodHead, tar.Header{Name: hash + ".narinfo.000000000000000-of-000000000000009"}),
		"piece of nothing":      made(t, goodHead, tar.Header{Name: "nar/x.nar.zst.000000000000009-of-000000000000009"}),
		"goes on":               made(t, goodHead, tar.Header{Name: sumsName}, tar.Header{Name: hash + ".narinfo"}),
	} {
		bad := (*BadError)(nil)
		if err := openText(text); !errors.As(err, &bad) || bad.File != "b.tar" {
			t.Errorf("%s: %v, want a *BadError", name, err)
		}
	}
	if err := openText(made(t, strings.Replace(goodHead, `"version":1`, `"version":2`, 1))); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v, want %v", err, ErrVersion)
	}
}

// A size in a header reserves nothing.
func TestHugeSizes(t *testing.T) {
	const hash = "00000000000000000000000000000000"
	for name, most := range map[string]int64{hash + ".narinfo": 0, "nar/" + strings.Repeat("0", 52) + ".nar.zst": 1 << 62, sumsName: 0} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: headName, Size: int64(len(goodHead)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, goodHead)
		if err := w.WriteHeader(&tar.Header{Name: name, Size: 1 << 50, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		bad := (*BadError)(nil)
		if err := openText(b.Bytes()); most == 0 && !errors.As(err, &bad) || most > 0 && !errors.Is(err, ErrCut) {
			t.Errorf("%s of a petabyte: %v", name, err)
		}
	}
}

// A record that is not that of its name makes no path.
func TestReadyRecords(t *testing.T) {
	source := treetest.Source(t)
	app := treetest.Record(t, source, "app")
	for name, text := range map[string]string{
		"rubbish": "rubbish\n",
		"another": string(app.Marshal(layout.DefaultStoreDir)),
	} {
		record := layout.NarInfoKey(treetest.Record(t, source, "flat").Path)
		w := written{bytes.NewBuffer(madeWith(t, goodHead, text, tar.Header{Name: string(record)}))}
		if _, _, err := open(t, w.all()...).Ready(t.Context(), treetest.NewMem(nil), nil); err == nil {
			t.Errorf("%s: is taken for a record", name)
		}
	}
}

func TestBadState(t *testing.T) {
	source := treetest.Source(t)
	state, err := TakeState(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := state.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	lines := strings.SplitAfter(good, "\n")
	for name, text := range map[string]string{
		"empty":              "",
		"rubbish":            "rubbish\n",
		"first line alone":   lines[0],
		"cut off":            good[:len(good)/2],
		"last line gone":     strings.Join(lines[:len(lines)-2], ""),
		"a line gone":        lines[0] + strings.Join(lines[2:], ""),
		"two lines swapped":  lines[0] + lines[2] + lines[1] + strings.Join(lines[3:], ""),
		"a hash twice":       lines[0] + lines[1] + strings.Join(lines[1:], ""),
		"something follows":  good + "x",
		"a letter changed":   strings.Replace(good, lines[1], "0"+lines[1][1:], 1) + "",
		"no store directory": strings.Replace(good, "/nix/store", "", 1),
		"another directory":  strings.Replace(good, "/nix/store", "/gnu/store", 1),
	} {
		if name == "a letter changed" && text == good {
			text = strings.Replace(good, lines[1], "1"+lines[1][1:], 1)
		}
		bad := (*BadStateError)(nil)
		if _, err := ReadState(strings.NewReader(text)); !errors.As(err, &bad) {
			t.Errorf("%s: %v, want a *BadStateError", name, err)
		}
	}
	if _, err := ReadState(strings.NewReader(strings.Replace(good, stateHead+"1", stateHead+"2", 1))); !errors.Is(err, ErrVersion) {
		t.Errorf("a later version: %v, want %v", err, ErrVersion)
	}
}

func FuzzOpen(f *testing.F) {
	w := write(f, treetest.Source(f), nil, Options{MaxPart: 100_000, Logs: true})
	for _, part := range w {
		f.Add(part.Bytes())
	}
	f.Add(made(f, goodHead, tar.Header{Name: "nar/x.nar.zst.000000000000000-of-000000000000009"}))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Open(File{"b.tar", bytes.NewReader(text), int64(len(text))})
		if err != nil {
			return
		}
		b.Check(t.Context(), nil)
		b.Lacking()
		for info, err := range b.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			body, opened, err := b.Get(t.Context(), info.Key)
			if err != nil || opened.Size != info.Size {
				t.Fatalf("%s: %v, %v, listed %v", info.Key, err, opened, info)
			}
			if n, err := io.Copy(io.Discard, body); err != nil || n != info.Size {
				t.Fatalf("%s: %d bytes, %v, want %d", info.Key, n, err, info.Size)
			}
		}
		b.Ready(t.Context(), treetest.NewMem(nil), nil)
	})
}

func FuzzReadState(f *testing.F) {
	state, err := TakeState(f.Context(), treetest.Source(f), nil)
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	state.WriteTo(&b)
	f.Add(b.Bytes())
	f.Add([]byte("nixstatic-state 1 /nix/store\nend 0 \n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		state, err := ReadState(bytes.NewReader(text))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if _, err := state.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), text) {
			t.Errorf("written again it differs: %q, %q", text, again.Bytes())
		}
	})
}
