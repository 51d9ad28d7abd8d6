//go:build real

package serve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// small is a path without references, for what is to be refused.
func small(t testing.TB) string {
	t.Helper()
	return peers.Closure(t).Named(t, "libaudit-common-")
}

// quick keeps Nix from compressing what will be refused, and from trying again
// for long.
const quick = "?compression=none"

// A token works as the password of netrc, and one that may not upload, is not
// known, or is not there at all is refused with a word that Nix shows.
func TestTokens(t *testing.T) {
	s := start(t)
	reader := s.newToken(t, "reader", "read")
	url := s.URL + "/upload" + quick
	for _, nix := range peers.Nixes(t) {
		nix = fresh(t, nix)
		netrc := filepath.Join(t.TempDir(), "netrc")
		with := func(user, password string) peers.Nix {
			t.Helper()
			if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login "+user+" password "+password+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			return fresh(t, nix)
		}
		args := append(copyArgs(t, url, small(t)), "--option", "netrc-file", netrc)
		refused := func(nix peers.Nix, words string) {
			t.Helper()
			out, err := nix.Command(t, "nix", args...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), words) {
				t.Errorf("Nix %s: %v, and it does not say %q:\n%s", nix.Version, err, words, out)
			}
		}
		refused(with("ci", "nst_"+strings.Repeat("A", 43)), "this token is not known here")
		refused(with("reader", reader), "the token reader is good for read, not for upload")
		if err := os.WriteFile(netrc, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(fresh(t, nix), "this needs a token with the scope upload")
		with("anyone", s.Token).Output(t, "nix", args...)
	}
	verify(t, s.Tree, s.Key.Public)
	newest(t).Output(t, "token", "revoke", "--file", s.Tokens, "ci")
	time.Sleep(1100 * time.Millisecond)
	if out := pushRefused(t, peers.Newest(t), s.upload("compression=none"), small(t)); !strings.Contains(out, "not known here") {
		t.Errorf("with a revoked token:\n%s", out)
	}
}

// A Nix that copies a closure asks for all of its paths at once. With a mistyped token
// it is told so, however many they are, and once the token is right it may go on at once.
func TestMistypedToken(t *testing.T) {
	s := start(t)
	mistyped := strings.Replace(s.upload("compression=none"), s.Token, s.Token[:len(s.Token)-3]+"xyz", 1)
	for _, nix := range peers.Nixes(t) {
		out := pushRefused(t, fresh(t, nix), mistyped, peers.Closure(t).Top)
		if !strings.Contains(out, "this token is not known here: it may be mistyped") || strings.Contains(out, "too many") {
			t.Errorf("Nix %s is told:\n%s", nix.Version, out)
		}
		push(t, fresh(t, nix), s.upload("compression=none"), small(t))
	}
}

// A client that sends to the URL for readers is told so, and its token is not doubted.
func TestReadingURL(t *testing.T) {
	s, dir := start(t), t.TempDir()
	netrc := filepath.Join(dir, "netrc")
	if err := os.WriteFile(netrc, []byte("machine 127.0.0.1 login ci password "+s.Token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newest(t)
	p.Output(t, "add", "--to", filepath.Join(dir, "cache"), netrc)
	for _, args := range [][]string{
		{"sync", filepath.Join(dir, "cache"), s.URL, "--netrc-file", netrc},
		{"push", s.URL, "--netrc-file", netrc, "--store", peers.Closure(t).Root, small(t)},
		{"add", "--to", s.URL, "--netrc-file", netrc, netrc},
	} {
		r := p.Run(t, args...).Want(t, 1)
		if !strings.Contains(r.Stderr, "hint: this URL is for reading: name the one for uploads") || strings.Contains(r.Stderr, "password") {
			t.Errorf("%v:\n%s", args, r.Stderr)
		}
	}
}

// A server says that it has paths that Nix will refuse.
func TestUnsignedCache(t *testing.T) {
	s := &server{Tree: filepath.Join(t.TempDir(), "cache")}
	newest(t).Output(t, "export", "--store", peers.Closure(t).Root, "--to", s.Tree, peers.Closure(t).Named(t, "libgcc-s1-"))
	s.runAs(t, "serve", s.Tree, "--read-only", "--listen", "127.0.0.1:0")
	until(t, "the warning", func() bool {
		return strings.Contains(s.log.String(), "paths are not signed, and Nix refuses these: nixstatic sign signs what is there")
	})
}

// A private tree is read with a token alone.
func TestPrivate(t *testing.T) {
	s := start(t, "--private")
	reader := s.newToken(t, "reader", "read")
	push(t, peers.Newest(t), s.upload("compression=none"), small(t))
	with := strings.Replace(s.URL, "://", "://reader:"+reader+"@", 1)
	for _, nix := range peers.Nixes(t) {
		pull(t, fresh(t, nix), with, s.Key.Public, small(t))
		out, err := fresh(t, nix).Command(t, "nix", "copy", "--from", s.URL, "--to", peers.StoreRoot(t), small(t)).CombinedOutput()
		if err == nil {
			t.Errorf("Nix %s reads without a token:\n%s", nix.Version, out)
		}
	}
	if status, body := get(t, s.URL+"/nix-cache-info"); status != 401 || !strings.Contains(body, "scope read") {
		t.Errorf("status %d, %q", status, body)
	}
}

// Without tokens no client may upload, and the operator is told how to change
// that. With --anonymous-upload every client may.
func TestWithoutTokens(t *testing.T) {
	s := &server{Tree: filepath.Join(t.TempDir(), "cache"), Key: newest(t).NewKey(t, "serve.example.org-1"), Tokens: ""}
	s.run(t, "127.0.0.1:0")
	until(t, "the hint", func() bool { return strings.Contains(s.log.String(), "./result") })
	for _, words := range []string{"no client may upload", "nixstatic token create --file tokens --name me --scope upload", s.URL[7:] + "/upload --option netrc-file"} {
		if !strings.Contains(s.log.String(), words) {
			t.Errorf("the log does not say %q:\n%s", words, s.log)
		}
	}
	for _, nix := range peers.Nixes(t) {
		out := pushRefused(t, nix, s.URL+"/upload"+quick, small(t))
		if !strings.Contains(out, "takes no uploads without") {
			t.Errorf("Nix %s:\n%s", nix.Version, out)
		}
	}
	s.stop(t)
	s.run(t, "127.0.0.1:0", "--anonymous-upload")
	push(t, peers.Newest(t), s.URL+"/upload"+quick, small(t))
	verify(t, s.Tree, s.Key.Public)
	if !strings.Contains(s.log.String(), "everyone who reaches this server may upload") {
		t.Errorf("no warning:\n%s", s.log)
	}
}

// Every policy has an answer that each Nix shows, and changes nothing.
func TestRefusals(t *testing.T) {
	store := peers.Closure(t)
	vouch := newest(t).NewKey(t, "vouch-1")
	for _, test := range []struct {
		name, path, words string
		args              []string
	}{
		{"unsigned", small(t), "sign", []string{"--require-signature", "--trusted-public-key", vouch.Public}},
		{"a large NAR", small(t), "more than", []string{"--max-nar-size", "1kB"}},
		{"a large file", small(t), "more than", []string{"--max-body", "1kB"}},
		{"a full disk", small(t), "no space", []string{"--min-free", "100%"}},
		{"another store directory", small(t), "store", []string{"--store-dir", "/other/store"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, test.args...)
			for _, nix := range peers.Nixes(t) {
				out := pushRefused(t, fresh(t, nix), s.upload("compression=none"), test.path)
				if !strings.Contains(out, test.words) {
					t.Errorf("Nix %s does not say %q:\n%s", nix.Version, test.words, out)
				}
			}
			if n := narinfos(t, s.Tree); len(n) > 0 {
				t.Errorf("records in the tree: %v", n)
			}
			verify(t, s.Tree)
		})
	}
	t.Run("signed by whom we trust", func(t *testing.T) {
		t.Parallel()
		s := start(t, "--require-signature", "--trusted-public-key", vouch.Public)
		for _, nix := range peers.Nixes(t) {
			push(t, fresh(t, nix), s.upload("compression=none", "secret-key="+vouch.File), small(t))
		}
		// A path that proves itself needs no signature.
		push(t, peers.Newest(t), s.upload("compression=none"), store.Named(t, "flat"))
		verify(t, s.Tree, vouch.Public)
		verify(t, s.Tree, s.Key.Public)
	})
}

// A wrong request is refused before anything is written.
func TestServeUsage(t *testing.T) {
	p := newest(t)
	tree := filepath.Join(t.TempDir(), "cache")
	for name, test := range map[string]struct {
		args  []string
		words string
	}{
		"no tree":                      {[]string{}, "one argument"},
		"a signature without keys":     {[]string{tree, "--require-signature"}, "--trusted-public-key"},
		"half a certificate":           {[]string{tree, "--tls-cert", "x"}, "belong together"},
		"an upstream without a key":    {[]string{tree, "--upstream", "https://cache.example.org"}, "--upstream-key"},
		"a key without an upstream":    {[]string{tree, "--upstream-key", p.NewKey(t, "k").Public}, "more --upstream-key"},
		"private without tokens":       {[]string{tree, "--private"}, "--tokens"},
		"a size that is none":          {[]string{tree, "--max-body", "many"}, "not a size"},
		"a share of more than all":     {[]string{tree, "--min-free", "101%"}, "percentage"},
		"a prefix that is no path":     {[]string{tree, "--upload-prefix", "/a/../b/"}, "--upload-prefix"},
		"a prefix that hides NARs":     {[]string{tree, "--upload-prefix", "nar"}, "readers find at /nar"},
		"a prefix that hides a record": {[]string{tree, "--upload-prefix", "/nix-cache-info/"}, "readers find at /nix-cache-info"},
		"a tree on the web":            {[]string{"https://cache.example.org", "--secret-key-file", "absent"}, "cannot be served"},
		"a log in another format":      {[]string{tree, "--log-format", "xml"}, "text or json"},
		"a proxy that is no address":   {[]string{tree, "--trusted-proxy", "proxy"}, "want an address"},
		"a store directory that isn't": {[]string{tree, "--store-dir", "nix"}, "store directory"},
	} {
		r := p.Run(t, append(append([]string{"serve"}, test.args...), "--listen", "127.0.0.1:0")...).Want(t, 2)
		if !strings.Contains(r.Stderr, test.words) {
			t.Errorf("%s: it does not say %q:\n%s", name, test.words, r.Stderr)
		}
	}
	if _, err := os.Stat(tree); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
	r := p.Run(t, "serve", "--read-only", tree).Want(t, 1)
	if !strings.Contains(r.Stderr, "nixstatic init") {
		t.Errorf("read-only, without a tree:\n%s", r.Stderr)
	}
	taken := start(t)
	nixtest.Wait(t, p.Command(t, "serve", tree, "--listen", taken.address(t))).Refused(t, "address already in use")
}
