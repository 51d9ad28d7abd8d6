package nixstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

func TestDerivationRefusals(t *testing.T) {
	const good = `Derive([("out","/nix/store/x","","")],[("/nix/store/y.drv",["out"])],["/nix/store/z"],"sys","/bin/sh",["-c","a\nb"],[("out","/nix/store/x")])`
	if _, err := parseDerivation(good); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		if d, err := parseDerivation(good[:i]); err == nil {
			t.Errorf("cut off after %d bytes: %+v", i, d)
		}
	}
	for name, text := range map[string]string{
		"trailing text":     good + "x",
		"blank":             strings.Replace(good, ",", ", ", 1),
		"no outputs":        strings.Replace(good, `("out","/nix/store/x","","")`, "", 1),
		"output twice":      strings.Replace(good, `[("out","/nix/store/x","","")`, `[("out","","",""),("out","","","")`, 1),
		"environment twice": strings.Replace(good, `[("out","/nix/store/x")]`, `[("a","b"),("a","c")]`, 1),
		"comma at the end":  strings.Replace(good, `"a\nb"]`, `"a\nb",]`, 1),
		"web page":          "<html>",
	} {
		if d, err := parseDerivation(text); err == nil {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if _, err := parseDerivation(`DrvWithVersion("xp-dyn-drv",[],[])`); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("dynamic derivation: %v, want errors.ErrUnsupported", err)
	}
}

// Files that were tampered with must not send the search round and round.
func TestModuloCircle(t *testing.T) {
	dir := t.TempDir()
	const a, b = layout.StorePath("00000000000000000000000000000000-a.drv"), layout.StorePath("00000000000000000000000000000000-b.drv")
	for _, pair := range [][2]layout.StorePath{{a, b}, {b, a}} {
		text := fmt.Sprintf(`Derive([("out","","r:sha256","")],[("/nix/store/%s",["out"])],[],"s","b",[],[])`, pair[1])
		if err := os.WriteFile(dir+"/"+string(pair[0]), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := modulo{storeDir: layout.DefaultStoreDir, realDir: dir, hashes: map[layout.StorePath]map[string]string{}}
	d, err := m.read(a)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := m.id(d); err == nil {
		t.Errorf("a circle has the hash %s", id)
	}
}

func FuzzDerivation(f *testing.F) {
	f.Add(`Derive([("out","","r:sha256","")],[("/nix/store/y.drv",["dev","out"])],["/nix/store/z"],"sys","/bin/sh",["-c","a\nb\"\\\t\r"],[("out","x")])`)
	f.Add(`Derive([("out","/nix/store/x","sha256","00")],[],[],"","",[],[])`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDerivation(text)
		if err != nil {
			return
		}
		canonical := d.marshal(d.inputDrvs, false)
		again, err := parseDerivation(canonical)
		if err != nil {
			t.Fatalf("%q is written as %q: %v", text, canonical, err)
		}
		if s := again.marshal(again.inputDrvs, false); s != canonical {
			t.Errorf("%q is written as %q, and that as %q", text, canonical, s)
		}
	})
}
