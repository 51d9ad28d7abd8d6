//go:build real

package builders_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"

	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A forge is an issuer, made with the library, and the runner of a job that asks it for a
// token.
type forge struct {
	URL     string
	Claims  map[string]any // of the job
	request string         // the URL at which a job asks
	key     *rsa.PrivateKey
}

const requestToken = "the-secret-of-the-runner"

// newForge is GitHub.
func newForge(t testing.TB) *forge { return newForgeAt(t, "", "/request?api-version=2.0") }

// newForgeAt makes a forge whose issuer is at a path, and whose jobs ask at another.
func newForgeAt(t testing.TB, below, request string) *forge {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	f := &forge{key: key, Claims: map[string]any{"repository": "acme/app", "sub": "repo:acme/app:ref:refs/heads/main"}}
	issuer := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "k", Algorithm: oidc.RS256}}}
	mux := http.NewServeMux()
	mux.Handle(below+"/", http.StripPrefix(below, issuer))
	path, query, _ := strings.Cut(request, "?")
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+requestToken || !strings.Contains("&"+r.URL.RawQuery+"&", "&"+query+"&") {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": f.token(t, r.URL.Query().Get("audience"))})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	f.URL, f.request = server.URL+below, server.URL+request
	issuer.SetIssuer(f.URL)
	return f
}

func (f *forge) token(t testing.TB, audience string) string {
	now := time.Now()
	claims := map[string]any{"iss": f.URL, "aud": audience, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix()}
	for name, v := range f.Claims {
		claims[name] = v
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Error(err)
	}
	raw := oidctest.SignIDToken(f.key, "k", oidc.RS256, string(text))
	nixtest.Secret(raw)
	return raw
}

// env is that of a job.
func (f *forge) env() []string {
	nixtest.Secret(requestToken)
	return []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + f.request, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + requestToken}
}

// run runs nixstatic with more in its environment.
func (b *builder) run(t testing.TB, env []string, args ...string) nixtest.Result {
	t.Helper()
	cmd := b.program().Command(t, args...)
	cmd.Env = append(cmd.Env, env...)
	return nixtest.Wait(t, cmd)
}

// A job pushes without a secret, to the roots of its repository, and no other job does.
func TestIdentity(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	built := b.build(t, 0, 3)
	f := newForge(t)
	s := newServer(t, nix, "--store-dir", b.storeDir, "-k", b.program().NewKey(t, "ci-1").File,
		"--oidc", "issuer="+f.URL+",audience=AUDIENCE,claim:repository=acme/*,scope=upload,root={repository}/*")
	audience := []string{"NIXSTATIC_AUDIENCE=AUDIENCE"}
	env := append(f.env(), audience...)

	b.run(t, env, "push", "--store", b.store, s.upload(), built[0]).Refused(t, "good for uploads to the roots acme/app/*")
	b.run(t, env, "push", "--store", b.store, "--root", "acme/app/main@1", s.upload(), built[0]).Want(t, 0)
	b.run(t, env, "push", "--store", b.store, "--root", "acme/other/main@1", s.upload(), built[1]).Refused(t, "good for uploads to the roots")
	b.run(t, f.env(), "push", "--store", b.store, "--root", "acme/app/main@2", s.upload(), built[1]).Refused(t, "does not let this job in", "audience")
	b.run(t, nil, "push", "--store", b.store, "--root", "acme/app/main@3", s.upload(), built[1]).Refused(t, "401")
	b.run(t, append([]string{"NIXSTATIC_ID_TOKEN=" + f.token(t, "AUDIENCE")}, audience...), "push", "--store", b.store, "--root", "acme/app/main@4", s.upload(), built[1]).Want(t, 0)

	// A token of the file may push to any root.
	b.program().Run(t, "push", "--store", b.store, "--root", "beta/app@1", "--netrc-file", s.Netrc, s.upload(), built[0]).Want(t, 0)

	f.Claims["repository"] = "evil/app"
	b.run(t, env, "push", "--store", b.store, "--root", "acme/app/main@5", s.upload(), built[2]).Refused(t, "does not let this job in", "repository")
	f.Claims["repository"] = "acme/app"
	if s.has(built[2]) {
		t.Errorf("%s was pushed", built[2])
	}

	b.run(t, env, "watch", s.upload(), "--root", "acme/app/main@6", "--queue", b.queue, "--nix-store", b.store, "--strict", "--exec", "--",
		"env", "OUT_PATHS="+built[2], nixtest.Binary(t), "watch", "send", "--queue", b.queue).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
	for _, p := range built {
		if !s.has(p) {
			t.Errorf("%s is not there", p)
		}
	}
}

// The issuer of a Forgejo or a Gitea is below the instance, and its jobs ask with a query of
// their own.
func TestIdentityForgejo(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	built := b.build(t, 0, 1)
	f := newForgeAt(t, "/api/actions", "/api/actions/_apis/pipelines/workflows/7/idtoken?placeholder=true")
	s := newServer(t, nix, "--store-dir", b.storeDir, "-k", b.program().NewKey(t, "ci-1").File,
		"--oidc", "issuer="+f.URL+",audience=A,claim:repository=acme/*,scope=upload")
	b.run(t, append(f.env(), "NIXSTATIC_AUDIENCE=A"), "push", "--store", b.store, s.upload(), built[0]).Want(t, 0)
	checkSent(t, s, b.closure(t, built))
}

// use gets a token for the job into the netrc of Nix, with which a stock Nix uploads, and
// reads a private cache.
func TestIdentityForNix(t *testing.T) {
	nix := peers.Newest(t)
	b := newBuilder(t, nix)
	built := b.build(t, 0, 1)[0]
	f, key := newForge(t), b.program().NewKey(t, "ci-1")
	s := newServer(t, nix, "--store-dir", b.storeDir, "-k", key.File, "--private",
		"--oidc", "issuer="+f.URL+",audience=A,claim:repository=acme/*,scope=upload")
	dir := t.TempDir()
	conf := filepath.Join(dir, "nix.conf")
	env := append(f.env(), "NIXSTATIC_AUDIENCE=A", "NIX_USER_CONF_FILES="+conf, "NIX_STORE_DIR="+b.storeDir)
	b.run(t, env, "use", "http://"+s.Address, "--write", "user", "--key", key.Public).Want(t, 0)
	text, err := os.ReadFile(conf)
	if err != nil || !strings.Contains(string(text), "netrc-file = ") {
		t.Fatalf("%v: %s", err, text)
	}
	netrc := filepath.Join(dir, "netrc")
	if st, err := os.Stat(netrc); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", st, err)
	}
	b.Output(t, "nix", "--extra-experimental-features", "nix-command", "copy", "--no-check-sigs", "--store", b.store,
		"--to", s.upload()+"?store="+b.storeDir, "--option", "netrc-file", netrc, built)
	checkSent(t, s, b.closure(t, []string{built}))
}
