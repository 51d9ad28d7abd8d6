package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
)

func TestParseLocation(t *testing.T) {
	type place struct{ scheme, at, text string }
	for text, want := range map[string]place{
		"cache":                             {inDir, "cache", "cache"},
		"./s3:/cache":                       {inDir, "./s3:/cache", "./s3:/cache"},
		"/a b%/c?d#e":                       {inDir, "/a b%/c?d#e", "/a b%/c?d#e"},
		"./a://b":                           {inDir, "./a://b", "./a://b"},
		"file:///my%20cache%25":             {inDir, "/my cache%", "file:///my%20cache%25"},
		"file://localhost/x?priority=1":     {inDir, "/x", "file://localhost/x?priority=1"},
		"s3://bucket/a/b":                   {inBucket, "s3://bucket/a/b", "s3://bucket/a/b"},
		"s3://bucket?compression=xz":        {inBucket, "s3://bucket", "s3://bucket?compression=xz"},
		"https://me:s3cret@host/x?trusted=": {onWeb, "https://me:s3cret@host/x", "https://host/x?trusted="},
		"http://host:80?priority=10":        {onWeb, "http://host:80", "http://host:80?priority=10"},
		"http://[::1]:80?priority=10":       {onWeb, "http://[::1]:80", "http://[::1]:80?priority=10"},
		"HTTP://host":                       {onWeb, "http://host", "HTTP://host"},
	} {
		loc, err := parseLocation(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := place{loc.scheme, loc.path + loc.web, loc.text}
		if loc.scheme == inBucket {
			got.at = loc.bucket.String()
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(place{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	for text, says := range map[string]string{
		"":                           "is empty",
		"s3:/cache":                  "s3://cache",
		"https:/host/x":              "https://host/x",
		"http:host":                  "http://host",
		"file:/x":                    "file:///x",
		"file://host/path":           "absolute path",
		"file://":                    "absolute path",
		"file:///x?comperssion=xz":   "comperssion is not a setting",
		"file:///x?a=%zz":            "malformed",
		"s3://bucket?comperssion=xz": "comperssion",
		"s3://user:s3cret@bucket":    "credentials do not belong",
		"https://host/?hash=1":       "hash is not a setting",
		"https://host/#part":         "is not a URL",
		"https://me:s3cret@[::1":     "is not a URL",
		"https://me:s3cret/x@host/y": "is not a URL",
		"gs://bucket":                "nothing for gs://",
		"daemon://":                  "nothing for daemon://",
	} {
		_, err := parseLocation(text)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want one that says %q", text, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: shown: %v", text, err)
		}
	}
}

// TestDiscreet: no form of a URL with a password has the password in its error, or
// in what else is said.
func TestDiscreet(t *testing.T) {
	const token = "nst_aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789_-aBcDe"
	for _, secret := range []string{token, "hunter2"} {
		for _, text := range []string{
			"https://ci:" + secret + "@h", "https:/ci:" + secret + "@h", "https:ci:" + secret + "@h", "ci:" + secret + "@h/x",
			"https://ci:a/" + secret + "@h", "ftp://ci:" + secret + "@h", "https://ci:" + secret + "@h#x", "https://ci:%zz" + secret + "@h",
			"https://" + secret + "@h", "s3://ci:" + secret + "@b?endpoint=x y",
		} {
			loc, err := parseLocation(text)
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("%v", err)
			}
			if strings.Contains(loc.text, secret) {
				t.Errorf("%s is called %s", text, loc.text)
			}
			for _, args := range [][]string{{text}, {"verify", text}, {"export", "--to", text, "x"}, {"export", "--from", text, "--to", "t", "x"},
				{"sync", text, "./t"}, {"use", text}, {"serve", text}, {"export", "--to", "t", text}, {"key", text}, {"init", text}, {"--" + text}, {"gc", text}} {
				t.Chdir(t.TempDir())
				var out strings.Builder
				ctx, cancel := context.WithCancel(t.Context())
				cancel() // nothing is to be asked
				runApp(ctx, append([]string{"nixstatic"}, args...), strings.NewReader(""), &out, &out)
				if strings.Contains(out.String(), secret) {
					t.Errorf("nixstatic %s …: %s", args[0], out.String())
				}
			}
		}
	}
	for text, want := range map[string]string{
		"GET https://a:b@h/x: no":      "GET https://h/x: no",
		"http://127.0.0.1:80/a@b":      "http://127.0.0.1:80/a@b",
		"mail me@example.org":          "mail me@example.org",
		"two http://a@b and ftp://c@d": "two http://b and ftp://d",
		"token " + token + ".":         "token nst_….",
		"nst_ is the beginning":        "nst_ is the beginning",
	} {
		if got := discreet(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// TestLocationSettings: the settings of a URL are honoured, or told, or refused.
func TestLocationSettings(t *testing.T) {
	for _, x := range []struct {
		for_       use
		text, args string
		want, note string
	}{
		{writeTree, "file:///x?compression=xz&compression-level=3&secret-key=K&index-debug-info=true", "", "xz 3 [K] true", ""},
		{writeTree, "s3://bucket?compression=xz&secret-keys=K,L", "", "xz 0 [K L] false", ""},
		{writeTree, "file:///x?compression=xz", "--compression=none", "none 0 [] false", ""},
		{writeTree, "file:///x?write-nar-listing=1&priority=3", "", "zstd 0 [] false", "priority, write-nar-listing"},
		{readTree, "https://host?compression=xz", "", "zstd 0 [] false", "compression"},
		{checkTree, "file:///x?secret-key=K", "", "zstd 0 [] false", "secret-key"},
		{signTree, "file:///x?secret-key=K", "", "zstd 0 [K] false", ""},
		{changeTree, "s3://bucket?secret-key=K&index-debug-info=true", "", "zstd 0 [K] true", ""},
		{serveTree, "file:///x?secret-key=K", "", "zstd 0 [K] false", ""},
	} {
		command := &cli.Command{Flags: append(writeFlags(), &cli.BoolFlag{Name: "debug-info"})}
		set := flag.NewFlagSet("", flag.ContinueOnError)
		for _, f := range command.Flags {
			if err := f.Apply(set); err != nil {
				t.Fatal(err)
			}
		}
		if x.args != "" {
			if err := set.Parse([]string{x.args}); err != nil {
				t.Fatal(err)
			}
		}
		var notes strings.Builder
		c := cli.NewContext(&cli.App{Writer: io.Discard, ErrWriter: &notes}, set, nil)
		c.Command = command
		for range 2 { // a command may open it twice, and tell once
			if _, err := locate(c, x.text, x.for_); err != nil {
				t.Errorf("%s: %v", x.text, err)
			}
		}
		got := fmt.Sprint(c.String("compression"), " ", c.Int("level"), " ", c.StringSlice("secret-key-file"), " ", c.Bool("debug-info"))
		if diff := cmp.Diff(x.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", x.text, diff)
		}
		if !strings.Contains(notes.String(), x.note) || x.note == "" && notes.Len() > 0 || strings.Count(notes.String(), "\n") > 1 {
			t.Errorf("%s: notes %q", x.text, notes.String())
		}
	}
	c := cli.NewContext(&cli.App{Writer: io.Discard, ErrWriter: io.Discard}, flag.NewFlagSet("", flag.ContinueOnError), nil)
	c.Command = &cli.Command{Flags: writeFlags()}
	for _, refused := range []use{writeTree, checkTree, changeTree, serveTree, makeTree} {
		if _, err := locate(c, "https://me:s3cret@host", refused); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", refused, err)
		}
	}
}

// TestLocationsEverywhere: each argument and flag that takes a cache refuses a setting that
// there is not, and heeds the key that a URL names, or tells that it does not.
func TestLocationsEverywhere(t *testing.T) {
	t.Chdir(t.TempDir())
	runs := func(args []string) (string, int) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var out strings.Builder
		code := runApp(ctx, append([]string{"nixstatic"}, args...), strings.NewReader(""), &out, &out)
		return out.String(), code
	}
	if out, code := runs([]string{"init", "cache"}); code != 0 {
		t.Fatal(out)
	}
	if err := os.WriteFile("file", []byte("x"), 0o666); err != nil {
		t.Fatal(err)
	}
	key, code := runs([]string{"key", "generate", "--name", "k-1", "--to", "secret.key"})
	if code != 0 {
		t.Fatal(key)
	}
	key = strings.TrimSpace(key)
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const hash = "/nix/store/63l345l7dgcfz789w1y93j1540czafqh-x"
	for _, w := range []struct {
		args string // URL is where the location stands
		key  string // "heeds", "tells", or "" for neither: it is about Nix
	}{
		{"verify URL", "tells"}, {"sign URL", "heeds"}, {"gc -n URL", "tells"}, {"gc runs URL", "tells"}, {"gc why URL " + hash, "tells"},
		{"gc policy URL", "tells"}, {"gc undo URL", "tells"}, {"du URL", "tells"}, {"ls URL x", "tells"}, {"cat URL x/y", "tells"}, {"info URL x", "tells"},
		{"find URL x", "tells"}, {"page URL", "tells"}, {"uses import URL file", "tells"}, {"pin URL name " + hash, "tells"}, {"pin list URL", "tells"}, {"rm URL " + hash, "tells"},
		{"adopt -n URL", "heeds"}, {"bundle state URL -o have", "tells"}, {"bundle create -o b URL " + hash, "tells"}, {"bundle apply file URL", "heeds"},
		{"doctor URL", "tells"}, {"use -n --key KEY URL", ""}, {"sync URL ./d", "tells"}, {"sync ./cache URL", "tells"}, {"sync ./cache URL " + hash, "tells"},
		{"export --from URL --to ./e " + hash, "tells"}, {"export --to URL " + hash, "heeds"}, {"export --from ./cache --to URL " + hash, "heeds"},
		{"push URL ./file", "heeds"}, {"add --to URL ./file", "heeds"}, {"init URL", "tells"}, {"quickstart --no-serve --dir URL", "tells"},
		{"watch URL --queue q --exec -- true", "heeds"}, {"serve URL --redirect x --listen 127.0.0.1:0", "heeds"},
		{"adopt -n ./cache --upstream URL --upstream-key KEY", "tells"},
		{"serve ./cache --listen 127.0.0.1:0 --redirect x --upstream URL --upstream-key KEY", "tells"},
		{"serve ./cache --listen 127.0.0.1:0 --redirect x --pull-through URL --pull-through-key KEY", "tells"},
	} {
		with := func(url string) []string {
			return strings.Fields(strings.NewReplacer("URL", url, "KEY", key).Replace(w.args))
		}
		url := "file://" + dir + "/cache"
		if out, code := runs(with(url + "?bogus=1")); code != exitUsage || !strings.Contains(out, "bogus is not a setting") {
			t.Errorf("%s: exit code %d: %s", w.args, code, out)
		}
		if w.key == "" {
			continue
		}
		says := map[string]string{"heeds": "/no/such/key", "tells": "passed over: secret-key"}[w.key]
		out, _ := runs(with(url + "?secret-key=/no/such/key"))
		if strings.HasPrefix(w.args, "watch") { // which reads the key when it sends, as the queue tells it
			settings, err := os.ReadFile("q/settings")
			if err != nil {
				t.Error(err)
			}
			out = string(settings)
		}
		if !strings.Contains(out, says) {
			t.Errorf("%s: the key in the URL is neither heeded nor told of: %s", w.args, out)
		}
	}
}

// TestSubstituterURL: what nix.conf gets is what Nix can read, with the settings that are
// for it.
func TestSubstituterURL(t *testing.T) {
	for text, want := range map[string]string{
		"file:///c?trusted=1&priority=7":   "file:///c?priority=7&trusted=1",
		"file://localhost/c":               "file:///c",
		"https://host/c/":                  "https://host/c",
		"https://host/c?priority=7":        "https://host/c?priority=7",
		"gitea+https://host/o/p?version=2": "https://host/api/packages/o/generic/p/2",
	} {
		if _, got, err := substituterURL(text); got != want || err != nil {
			t.Errorf("%s became %s, %v, want %s", text, got, err, want)
		}
	}
}

// A message shows no part of a password, whatever characters are in it.
func TestWithoutUser(t *testing.T) {
	for text, want := range map[string]string{
		"https://host:80?priority=10":   "https://host:80?priority=10",
		"https://host:80/x?priority=10": "https://host:80/x?priority=10",
		"https://host?priority=10":      "https://host?priority=10",
		"https://me:12?34@host/x":       "https://host/x",
		"https://me:12?3/4@host/x":      "https://host/x",
		"https://me:a?b/x":              "https://x",
		"https://me@host:80":            "https://host:80",
	} {
		if got := withoutUser(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestURLOfRun: the settings of an upload URL do not get into the URL of a run.
func TestURLOfRun(t *testing.T) {
	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	command := &cli.Command{Flags: writeFlags()}
	set := flag.NewFlagSet("", flag.ContinueOnError)
	for _, f := range command.Flags {
		if err := f.Apply(set); err != nil {
			t.Fatal(err)
		}
	}
	c := cli.NewContext(&cli.App{Writer: io.Discard, ErrWriter: io.Discard}, set, nil)
	c.Command, c.Context = command, t.Context()
	tree, err := openPush(c, server.URL+"/upload/?compression=xz", layout.RunID{Root: "main", Run: "7"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if _, err := tree.Stat(t.Context(), layout.CacheInfoKey); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if want := "/upload/root/main/7/nix-cache-info"; asked != want || c.String("compression") != "xz" {
		t.Errorf("asked for %s, want %s; compression %s", asked, want, c.String("compression"))
	}
}
