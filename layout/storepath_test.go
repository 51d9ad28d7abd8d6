package layout_test

import (
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
)

const zeros = "00000000000000000000000000000000"

func TestParseStorePath(t *testing.T) {
	for base, ok := range map[string]bool{
		"00bgd045z0d4icpbc2yyz4gx48ak44la-net-tools-1.60_p20170221182432": true,
		zeros + "-a":                            true,
		zeros + "-0+-._?=Z":                     true,
		zeros + "-.hidden":                      true,
		zeros + "-..x":                          true,
		zeros + "--":                            true,
		zeros + "-" + strings.Repeat("x", 211):  true,
		zeros + "-" + strings.Repeat("x", 212):  false,
		"":                                      false,
		zeros:                                   false,
		zeros + "-":                             false,
		zeros + "_a":                            false,
		zeros + "-.":                            false,
		zeros + "-..":                           false,
		zeros + "-.-a":                          false,
		zeros + "-..-a":                         false,
		zeros + "-a/b":                          false,
		zeros + "-a b":                          false,
		zeros + "-a\n":                          false,
		zeros + "-é":                            false,
		zeros + "-a\x00":                        false,
		zeros + "-a~":                           false,
		"0" + zeros + "-a":                      false,
		zeros[1:] + "-aa":                       false,
		strings.ToUpper("a") + zeros[1:] + "-a": false,
		"e" + zeros[1:] + "-a":                  false,
		"o" + zeros[1:] + "-a":                  false,
		"u" + zeros[1:] + "-a":                  false,
		"t" + zeros[1:] + "-a":                  false,
		"../" + zeros[3:] + "-a":                false,
		"/nix/store/" + zeros + "-a":            false,
		zeros + "-foo/../" + zeros + "-" + "escape": false,
	} {
		p, err := layout.ParseStorePath(base)
		if (err == nil) != ok {
			t.Errorf("ParseStorePath(%.80q) = %v, want ok %t", base, err, ok)
		}
		if err != nil {
			continue
		}
		if p.Hash() != base[:32] || p.Name() != base[33:] || p.Abs("/nix/store") != "/nix/store/"+base {
			t.Errorf("%s: hash %q, name %q, %q", base, p.Hash(), p.Name(), p.Abs("/nix/store"))
		}
	}
}

func TestParseAbsStorePath(t *testing.T) {
	for _, c := range []struct {
		dir, path string
		ok        bool
	}{
		{"/nix/store", "/nix/store/" + zeros + "-a", true},
		{"/gnu/store", "/gnu/store/" + zeros + "-a", true},
		{"/nix/store", "/gnu/store/" + zeros + "-a", false},
		{"/nix/store", "/etc/abcde/" + zeros + "-a", false},
		{"/nix/store", "/nix/store//" + zeros + "-a", false},
		{"/nix/store", "/nix/store/" + zeros + "-a/bin", false},
		{"/nix/store", "/nix/store/" + zeros + "-a/", false},
		{"/nix/store", "/nix/store", false},
		{"/nix/store", zeros + "-a", false},
		{"/nix/store", "", false},
	} {
		if _, err := layout.ParseAbsStorePath(c.dir, c.path); (err == nil) != c.ok {
			t.Errorf("ParseAbsStorePath(%q, %q) = %v, want ok %t", c.dir, c.path, err, c.ok)
		}
	}
}

func TestIsDerivation(t *testing.T) {
	for p, want := range map[layout.StorePath]bool{zeros + "-a.drv": true, zeros + "-a": false, zeros + "-a.drv.gz": false} {
		if p.IsDerivation() != want {
			t.Errorf("%s: %t", p, !want)
		}
	}
}

func TestCheckStoreDir(t *testing.T) {
	for dir, ok := range map[string]bool{
		"/nix/store": true, "/gnu/store": true, "/s": true, "/opt/a.b/store": true, "/.nix/store": true,
		"": false, "/": false, "nix/store": false, "/nix/store/": false, "/nix//store": false, "/nix/./store": false,
		"/nix/../store": false, "/nix/st ore": false, "/nix/store\n": false, "/" + strings.Repeat("x", 2000): false,
		"/\x1b[31m": false, "/\u202etrats": false, "/\x9b": false, "/\u009b": false, "/\u2028": false, "/größe/store": true,
	} {
		if err := layout.CheckStoreDir(dir); (err == nil) != ok {
			t.Errorf("CheckStoreDir(%.40q) = %v, want ok %t", dir, err, ok)
		}
	}
}
