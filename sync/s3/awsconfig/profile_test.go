package awsconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes the two files and has the environment name them.
func write(t *testing.T, config, credentials string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"AWS_CONFIG_FILE": config, "AWS_SHARED_CREDENTIALS_FILE": credentials} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, file)
	}
}

func TestProfiles(t *testing.T) {
	write(t, "[default]\nregion = r\n[profile a]\nk = config\nl = config\n[profile \"x y\"]\nk = 1\n"+
		"[profile 'it''s']\nk = 2\n[profile too many]\nk = 3\n[profile \"open]\nk = 4\n[plain]\nk = 5\n"+
		"[services mine]\ns3 =\n  endpoint_url = http://one\n[profile b]\nservices = mine\n",
		"[a]\nk = shared\n[profile c]\nk = 6\n[x y]\nl = 7\n")
	files, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Section{}
	for name, p := range files.profiles {
		if p.Name != name {
			t.Errorf("%s is called %s", name, p.Name)
		}
		got[name] = p.Section
	}
	want := map[string]Section{
		"default":   {"region": "r"},
		"a":         {"k": "shared", "l": "config"},
		"x y":       {"k": "1", "l": "7"},
		"its":       {"k": "2"},
		"b":         {"services": "mine"},
		"profile c": {"k": "6"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("profiles (-want +got):\n%s", diff)
	}
	a, _ := files.Profile("a")
	if diff := cmp.Diff([]Section{{"k": "shared"}, {"k": "config", "l": "config"}}, []Section{a.Shared, a.Config}); diff != "" {
		t.Errorf("what each file says (-want +got):\n%s", diff)
	}
	b, _ := files.Profile("b")
	if got := files.Service(b, "s3")["endpoint_url"]; got != "http://one" {
		t.Errorf("the service of a profile: %q", got)
	}
	if files.Service(b, "sts") != nil || files.Service(a, "s3") != nil {
		t.Error("a service that is not there has settings")
	}
	if _, ok := files.Profile("plain"); ok {
		t.Error("a section that is no profile is one")
	}
}

// The files may be elsewhere, not there, or no files.
func TestLoad(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PLACE", "sub")
	if err := os.MkdirAll(filepath.Join(home, ".aws"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ variable, file string }{
		{"", ".aws/config"}, {"~/here", "here"}, {"$HOME/$PLACE", "sub"}, {"${HOME}/$UNSET_HERE", "$UNSET_HERE"},
	} {
		t.Setenv("AWS_CONFIG_FILE", c.variable)
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
		file := filepath.Join(home, c.file)
		if err := os.WriteFile(file, []byte("[default]\nk = v\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		files, err := Load()
		if err != nil {
			t.Fatal(err)
		}
		if p, ok := files.Profile("default"); !ok || p.Config["k"] != "v" {
			t.Errorf("AWS_CONFIG_FILE=%s: %v", c.variable, p)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	for _, nothing := range []string{home, filepath.Join(home, "none"), os.DevNull, os.DevNull + "/x"} {
		t.Setenv("AWS_CONFIG_FILE", nothing)
		if files, err := Load(); err != nil || len(files.profiles) != 0 {
			t.Errorf("%s: %v, %v", nothing, files, err)
		}
	}
	write(t, "[default]\nk = v\nthe secret\n", "")
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), "line 3") || strings.Contains(err.Error(), "secret\n") {
		t.Errorf("a broken file: %v", err)
	}
	write(t, "", "[default]\n"+strings.Repeat("# \n", maxFile/3+1))
	if _, err := Load(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file without end: %v", err)
	}
}
