package nixstore

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

// A daemon of Nix 2.35 or later is asked by path. Its answers have the later
// form alone.
func TestRealisationsByPath(t *testing.T) {
	root := newRootDir(t)
	const drv, out = "11111111111111111111111111111111-fake.drv", "22222222222222222222222222222222-fake"
	text := `Derive([("out","","r:sha256","")],[],[],"x","/bin/sh",[],[("out","")])`
	if err := os.WriteFile(root+"/nix/store/"+drv, []byte(text), 0o444); err != nil {
		t.Fatal(err)
	}
	sig := "k-1:" + strings.Repeat("A", 86) + "=="
	for _, test := range []struct {
		name    string
		outPath string // "" for none
		want    []layout.Realisation
	}{
		{"known", "/nix/store/" + out, []layout.Realisation{{OutPath: out, Output: "out", DrvPath: drv, TraceSigs: []string{sig}}}},
		{"another path", "/nix/store/" + string(fakePath), nil},
		{"unknown", "", nil},
	} {
		store := listen(t, func(d *fakeDaemon) {
			d.greet(38, "x", featurePathKeys)
			d.serve(func(op uint64, path string) {
				d.out.num(stderrLast)
				switch {
				case op == opQueryAllValidPaths:
					d.out.texts("/nix/store/"+drv, "/nix/store/"+out)
				case op != opQueryRealisation || path != "/nix/store/"+drv || d.in.text(maxText) != "out":
					t.Errorf("asked for operation %d, %s", op, path)
				case test.outPath == "":
					d.out.num(0)
				default:
					d.out.num(1)
					d.out.text(test.outPath)
					d.out.texts(sig)
				}
			})
		})
		s, err := Open(t.Context(), Options{Store: store + "?root=" + escape(root)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Realisations(t.Context(), layout.PathInfo{Path: out})
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		s.Close()
	}
}
