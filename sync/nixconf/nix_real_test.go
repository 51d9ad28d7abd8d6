//go:build real

package nixconf

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/tests/peers"
)

// TestAsNix: every Nix makes the same of its files as Load does.
func TestAsNix(t *testing.T) {
	for name, text := range map[string]struct{ system, user, second, inline string }{
		"empty":       {},
		"one":         {system: "substituters = https://a https://b"},
		"extra":       {system: "extra-substituters = https://a\nextra-trusted-public-keys = k:1 l:2"},
		"anew":        {system: "extra-substituters = https://a", user: "substituters = https://b"},
		"both":        {system: "substituters = https://a", user: "extra-substituters = https://b", second: "extra-substituters = https://c", inline: "extra-substituters = https://d"},
		"order":       {user: "substituters = https://first", second: "substituters = https://second"},
		"old names":   {system: "binary-caches = https://a\nextra-binary-caches = https://b\nbinary-cache-public-keys = k:1"},
		"comments":    {system: "# substituters = https://a\nsubstituters = https://b # https://c\r\n\ttrusted-users\t=  root  @wheel "},
		"include":     {system: "substituters = https://a\ninclude more.conf\n!include none.conf\nextra-substituters = https://z"},
		"emptied":     {system: "substituters =\nextra-substituters = https://a"},
		"netrc":       {system: "netrc-file = /a/netrc", user: "netrc-file = /b/netrc\nrequire-sigs = false"},
		"block of us": {system: "# begin nixstatic https://a\nextra-substituters = https://a\n# end nixstatic https://a"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := Files{System: filepath.Join(dir, "nix.conf"), User: []string{filepath.Join(dir, "first.conf"), filepath.Join(dir, "second.conf")}, Inline: text.inline}
			write(t, f.System, text.system+"\n")
			write(t, f.User[0], text.user+"\n")
			write(t, f.User[1], text.second+"\n")
			write(t, filepath.Join(dir, "more.conf"), "extra-substituters = https://included\n")
			c := f.Load()
			if len(c.Problems) > 0 {
				t.Error(c.Problems)
			}
			for _, nix := range peers.Nixes(t) {
				cmd := nix.Command(t, "nix", "--extra-experimental-features", "nix-command", "show-config", "--json")
				cmd.Env = append(cmd.Env, "NIX_CONF_DIR="+dir, "NIX_USER_CONF_FILES="+f.User[0]+":"+f.User[1], "NIX_CONFIG="+f.Inline)
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("Nix %s: %v", nix.Version, err)
				}
				var all map[string]struct{ Value any }
				if err := json.Unmarshal(out, &all); err != nil {
					t.Fatal(err)
				}
				for _, list := range []string{"substituters", "trusted-public-keys", "trusted-users"} {
					var want []string
					for _, word := range all[list].Value.([]any) {
						want = append(want, word.(string))
					}
					got := c.List(list)
					slices.Sort(want)
					slices.Sort(got)
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("Nix %s: %s differs:\n%s", nix.Version, list, diff)
					}
				}
				if got, _ := c.NetrcFile(f); got != all["netrc-file"].Value {
					t.Errorf("Nix %s: the netrc is %v, we say %s", nix.Version, all["netrc-file"].Value, got)
				}
				if got := c.True("require-sigs"); got != all["require-sigs"].Value {
					t.Errorf("Nix %s: require-sigs is %v, we say %v", nix.Version, all["require-sigs"].Value, got)
				}
			}
		})
	}
}
