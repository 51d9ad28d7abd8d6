package nixconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindFiles(t *testing.T) {
	for _, test := range []struct {
		env  string
		want Files
	}{
		{"", Files{System: "/etc/nix/nix.conf", User: []string{"/home/u/.config/nix/nix.conf", "/etc/xdg/nix/nix.conf"}}},
		{"NIX_CONF_DIR=/c XDG_CONFIG_HOME=/x XDG_CONFIG_DIRS=/d:/e NIX_CONFIG=a=b",
			Files{System: "/c/nix.conf", User: []string{"/x/nix/nix.conf", "/d/nix/nix.conf", "/e/nix/nix.conf"}, Inline: "a=b"}},
		{"NIX_USER_CONF_FILES=/a:/b", Files{System: "/etc/nix/nix.conf", User: []string{"/a", "/b"}}},
		{"NIX_USER_CONF_FILES=", Files{System: "/etc/nix/nix.conf"}},
	} {
		env := map[string]string{}
		for _, word := range strings.Fields(test.env) {
			name, value, _ := strings.Cut(word, "=")
			env[name] = value
		}
		got := findFiles(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, "/home/u")
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s:\n%s", test.env, diff)
		}
	}
}

// TestProblems: what Nix refuses is told with its place, and the rest is read.
func TestProblems(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "nix.conf")
	write(t, filepath.Join(dir, "loop.conf"), "include loop.conf\n")
	write(t, name, "substituters https://a\ninclude none.conf\n!include none.conf\nfallback = true\ninclude loop.conf\n")
	c := LoadFile(name)
	var at []string
	for _, p := range c.Problems {
		at = append(at, strings.TrimPrefix(p.Error(), dir+"/"))
	}
	if len(at) != 3 || !strings.HasPrefix(at[0], "nix.conf:1: neither") || !strings.HasPrefix(at[1], "nix.conf:2: include") || !strings.Contains(at[2], "16 files deep") {
		t.Errorf("%q", at)
	}
	if c.Get("fallback") != "true" {
		t.Error("the rest was not read")
	}
	if err := os.WriteFile(name, []byte(strings.Repeat("# long\n", maxFile/7+1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if c := LoadFile(name); len(c.Problems) != 1 {
		t.Errorf("%v", c.Problems)
	}
}

func TestOverridden(t *testing.T) {
	c := &Config{}
	c.parse("a", "", "extra-substituters = https://mine\n", 0)
	if _, _, ok := c.Overridden("substituters", "https://mine/"); ok || !c.Uses("https://mine/?priority=3") {
		t.Error("overridden before anything overrides it")
	}
	c.parse("b", "", "\nsubstituters = https://other # mine\n", 0)
	added, by, ok := c.Overridden("substituters", "https://mine")
	if !ok || added.At() != "a:1" || by.At() != "b:2" || c.Uses("https://mine") {
		t.Errorf("%v %v %v", added, by, ok)
	}
	c.parse("c", "", "extra-binary-caches = https://mine", 0)
	if _, _, ok := c.Overridden("substituters", "https://mine"); ok || !c.Uses("https://mine") {
		t.Error("still overridden")
	}
}

func TestPerson(t *testing.T) {
	p := Person{"ann", []string{"wheel", "users"}}
	for list, want := range map[string]bool{"root": false, "root ann": true, "*": true, "@wheel": true, "wheel": false, "@ann": false, "": false, "annette": false} {
		if got := p.In(strings.Fields(list)); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
	if (Person{}).In([]string{"root", ""}) {
		t.Error("a user without a name is in the list")
	}
}

func FuzzConfig(f *testing.F) {
	f.Add("substituters = https://a https://b\nextra-substituters = c # d\n!include x\n")
	f.Add("include")
	f.Fuzz(func(t *testing.T, text string) {
		c := &Config{}
		c.parse("f", "/nonexistent", text, 0)
		for _, s := range c.Settings {
			if strings.ContainsAny(s.Name+s.Value, "#\n\r\t") || s.Line < 1 {
				t.Fatalf("%+v", s)
			}
			c.Overridden(s.Name, s.Value)
			c.List(s.Name)
		}
	})
}
