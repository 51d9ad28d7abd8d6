package token

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/webdav"
)

var zeroHash = "sha256:" + strings.Repeat("00", 32)

func TestParseTokens(t *testing.T) {
	text := "# those who may\n\n" +
		"ci upload " + zeroHash + "\n" +
		"  alice@example.org\tread,upload  " + zeroHash + " until=2027-01-31T01:00:00+01:00\n" +
		"root admin " + zeroHash // without a newline
	tokens, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []Token{
		{Name: "ci", Scopes: []webdav.Scope{webdav.Upload}},
		{Name: "alice@example.org", Scopes: []webdav.Scope{webdav.Read, webdav.Upload}, Until: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)},
		{Name: "root", Scopes: []webdav.Scope{webdav.Admin}},
	}
	if diff := cmp.Diff(want, tokens); diff != "" {
		t.Errorf("tokens (-want +got):\n%s", diff)
	}
	for _, token := range tokens {
		again, err := Parse([]byte(token.String() + "\n"))
		if err != nil || len(again) != 1 || !cmp.Equal(again[0], token) {
			t.Errorf("%s is read back as %v, %v", token, again, err)
		}
	}
}

func TestParseTokensRefuses(t *testing.T) {
	secret := "nst_" + strings.Repeat("A", 43)
	for name, text := range map[string]string{
		"too few fields":      "ci upload",
		"too many fields":     "ci upload " + zeroHash + " until=2027-01-01T00:00:00Z x",
		"an unknown scope":    "ci write " + zeroHash,
		"an empty scope":      "ci upload, " + zeroHash,
		"a secret, no hash":   "ci upload " + secret,
		"a short hash":        "ci upload " + zeroHash[:70],
		"a long hash":         "ci upload " + zeroHash + "00",
		"no hexadecimal":      "ci upload sha256:" + strings.Repeat("zz", 32),
		"another hash":        "ci upload sha512:" + strings.Repeat("00", 32),
		"a bad name":          "c/i upload " + zeroHash,
		"a secret as name":    secret + " upload " + zeroHash,
		"a long name":         strings.Repeat("x", 65) + " upload " + zeroHash,
		"a date without time": "ci upload " + zeroHash + " until=2027-01-01",
		"no until=":           "ci upload " + zeroHash + " 2027-01-01T00:00:00Z",
		"a name twice":        "ci upload " + zeroHash + "\nci read " + zeroHash,
		"too large":           strings.Repeat("#", maxTokenFile+1),
	} {
		tokens, err := Parse([]byte(text))
		if err == nil {
			t.Errorf("%s: read as %v", name, tokens)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes a secret: %v", name, err)
		}
	}
}

func TestScopes(t *testing.T) {
	for have, want := range map[webdav.Scope][]bool{webdav.Read: {true, false, false}, webdav.Upload: {true, true, false}, webdav.Admin: {true, true, true}} {
		token := Token{Scopes: []webdav.Scope{have}}
		got := []bool{token.Allows(webdav.Read), token.Allows(webdav.Upload), token.Allows(webdav.Admin)}
		if !cmp.Equal(want, got) {
			t.Errorf("a token for %s allows read, upload, admin: %v, want %v", have, got, want)
		}
	}
}

func newToken(t testing.TB, name string, scope webdav.Scope, until time.Time) (Token, string) {
	t.Helper()
	token, secret, err := New(name, []webdav.Scope{scope}, until)
	if err != nil {
		t.Fatal(err)
	}
	return token, secret
}

// A person's comments and order survive, and what a server could not read is
// never written.
func TestEditTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	one, _ := newToken(t, "one", webdav.Upload, time.Time{})
	two, _ := newToken(t, "two", webdav.Read, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	if err := Add(file, one); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("a new file has the mode %v, %v", st.Mode(), err)
	}
	head := "# ours\n\n  old read " + zeroHash + "   \n# no newline at the end"
	if err := os.WriteFile(file, []byte(one.String()+"\n"+head), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Add(file, two); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("a file that the world could read has the mode %v, %v", st.Mode(), err)
	}
	if err := Add(file, two); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second token two: %v, want fs.ErrExist", err)
	}
	if err := Revoke(file, "one"); err != nil {
		t.Fatal(err)
	}
	if err := Revoke(file, "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("revoke what is not there: %v, want fs.ErrNotExist", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(head+"\n"+two.String()+"\n", string(text)); diff != "" {
		t.Errorf("the file (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(file, []byte("rubbish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Add(file, one); err == nil {
		t.Error("a file that cannot be parsed was changed")
	}
	if names, err := os.ReadDir(filepath.Dir(file)); err != nil || len(names) != 1 {
		t.Errorf("left beside the file: %v, %v", names, err)
	}
	if err := Revoke(filepath.Join(t.TempDir(), "none"), "one"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("revoke in a file that is not there: %v", err)
	}
}

// No token is lost, however many are made at once; and a link stays one.
func TestEditTokensAtOnce(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "tokens"), filepath.Join(dir, "link")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("tokens", link); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	const n = 20
	for i := range n {
		wait.Go(func() {
			token, _ := newToken(t, "t"+string(rune('a'+i)), webdav.Upload, time.Time{})
			if err := Add(link, token); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if tokens, err := Read(file); err != nil || len(tokens) != n {
		t.Errorf("%d tokens, %v; want %d", len(tokens), err, n)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is a %v, %v", st.Mode(), err)
	}
}

func FuzzParseTokens(f *testing.F) {
	f.Add([]byte("# comment\nci upload " + zeroHash + "\nalice read,upload,admin " + zeroHash + " until=2027-01-31T00:00:00Z\n"))
	f.Add([]byte("ci upload sha256:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tokens, err := Parse(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, token := range tokens {
			b.WriteString(token.String() + "\n")
		}
		again, err := Parse([]byte(b.String()))
		if err != nil || !cmp.Equal(tokens, again) {
			t.Errorf("%q\nis written as %q\nand read as %v, %v", text, b.String(), again, err)
		}
	})
}

// A token that is bound to roots is good for nothing else.
func TestTokenRoots(t *testing.T) {
	roots, err := ParseRoots("acme/*,shared")
	if err != nil {
		t.Fatal(err)
	}
	bound, _, err := New("acme", []webdav.Scope{webdav.Upload}, time.Unix(2e9, 0), roots...)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse([]byte(bound.String() + "\n"))
	if err != nil || !cmp.Equal(again, []Token{bound}) {
		t.Fatalf("%+v, %v", again, err)
	}
	for run, want := range map[layout.RunID]bool{{Root: "acme/app", Run: "1"}: true, {Root: "acme", Run: "1"}: true, {Root: "shared", Run: "1"}: true,
		{Root: "acmeister/app", Run: "1"}: false, {Root: "shared/x", Run: "1"}: false} {
		if got := bound.MayKeep(&run); got != want {
			t.Errorf("%s: %v", run, got)
		}
	}
	if bound.MayKeep(nil) || !(&Token{}).MayKeep(nil) {
		t.Error("an upload without a root")
	}
	for _, field := range []string{"root=", "root=a,,b", "root=a?b", "root=a root=b", "until=2033-01-01T00:00:00Z until=2033-01-01T00:00:00Z", "roots=a"} {
		if _, err := Parse([]byte("ci upload sha256:" + strings.Repeat("0", 64) + " " + field)); err == nil {
			t.Errorf("%s was taken", field)
		}
	}
}
