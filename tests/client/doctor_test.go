//go:build real

package client_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// A diagnosis is what doctor --json prints.
type diagnosis struct {
	Version  int
	OK       bool
	Findings []struct{ Check, Fault, Level, What, Why, Cure string }

	Unchecked []struct{ Check, Reason string }
}

func (d diagnosis) faults() []string {
	var all []string
	for _, f := range d.Findings {
		all = append(all, f.Fault)
	}
	return all
}

// doctor runs the doctor, whose exit code has to agree with what it says.
func (p *person) doctor(t testing.TB, args ...string) diagnosis {
	t.Helper()
	r := p.nixstatic(t, append([]string{"doctor", "--json"}, args...)...)
	var d diagnosis
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("doctor %q: %v\n%s%s", args, err, r.Stdout, r.Stderr)
	}
	if d.Version != 1 || d.OK != (r.Code == 0) || !d.OK && r.Code != 1 {
		t.Errorf("doctor %q: exit code %d, and it says\n%s", args, r.Code, r.Stdout)
	}
	for _, f := range d.Findings {
		if f.What == "" || f.Why == "" || f.Cure == "" || f.Check == "" {
			t.Errorf("%s lacks something: %+v", f.Fault, f)
		}
	}
	return d
}

// healthy wants the doctor to find nothing.
func (p *person) healthy(t testing.TB, args ...string) diagnosis {
	t.Helper()
	d := p.doctor(t, args...)
	if len(d.Findings) > 0 {
		t.Errorf("Nix %s: doctor %q of what is healthy: %+v", p.nix.Version, args, d.Findings)
	}
	return d
}

// ills wants the doctor to find one fault and no other.
func (p *person) ills(t testing.TB, fault string, args ...string) string {
	t.Helper()
	d := p.doctor(t, args...)
	if got := d.faults(); !slices.Equal(got, []string{fault}) {
		t.Errorf("Nix %s: doctor %q finds %q, want %s: %+v %+v", p.nix.Version, args, got, fault, d.Findings, d.Unchecked)
		return ""
	}
	return d.Findings[0].Cure
}

// TestDoctorServing plants faults in the way a cache is served.
func TestDoctorServing(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	newGround(t, c).healthy(t)
	for fault, settings := range map[string]string{
		"missing-is-200":    "location / { try_files $uri /page.html; }",
		"missing-redirects": "location / { try_files $uri @login; } location @login { return 302 /page.html; }",
		"missing-is-error":  "location / { try_files $uri =500; }",
		"missing-is-403":    "location / { try_files $uri =403; }",
		"absence-cached":    `add_header Cache-Control "public, max-age=86400" always;`,
		"throttled":         "location / { try_files $uri =429; }",
		"head-refused":      "if ($request_method = HEAD) { return 405; }",
		"compressed-again":  "gzip on; gzip_types *; gzip_min_length 1; gzip_http_version 1.0;",
		"no-ranges":         "max_ranges 0;",
	} {
		t.Run(fault, func(t *testing.T) {
			g := newGround(t, c, settings)
			g.cache.write(t, "page.html", "<!doctype html><p>Log in")
			g.ills(t, fault, g.url, g.cache.path)
		})
	}
}

// TestDoctorInfo plants faults in what a cache says of itself.
func TestDoctorInfo(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	for fault, text := range map[string]string{
		"no-cache-info":      "",
		"cache-info-page":    "<html>Log in</html>",
		"cache-info-damaged": "nothing of use\n",
		"priority-malformed": "StoreDir: /nix/store\nPriority: high\n",
		"no-priority":        "StoreDir: /nix/store\nWantMassQuery: 1\n",
		"other-store-dir":    "StoreDir: /gnu/store\nPriority: 40\n",
	} {
		g := newGround(t, c)
		if text == "" {
			g.remove(t, "nix-cache-info")
		} else {
			g.cache.write(t, "nix-cache-info", text)
		}
		g.ills(t, fault, g.url)
	}
}

// TestDoctorSettings plants faults in the settings of a machine.
func TestDoctorSettings(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	other := newCache(t, "doctor.example.org-1") // a key of the same name
	plant := func(fault string, do func(g *ground), args ...string) {
		t.Helper()
		t.Run(fault, func(t *testing.T) {
			g := newGround(t, c)
			do(g)
			g.ills(t, fault, append([]string{g.url}, args...)...)
		})
	}
	conf := func(g *ground, text string) { g.machine.write(t, "home/.config/nix/nix.conf", text) }
	plant("not-used", func(g *ground) { conf(g, "") })
	t.Run("no-substituters", func(t *testing.T) {
		g := newGround(t, c)
		conf(g, "")
		g.ills(t, "no-substituters")
	})
	plant("settings-broken", func(g *ground) {
		conf(g, g.machine.read(t, "home/.config/nix/nix.conf")+"what is this\n")
	})
	plant("substitute-off", func(g *ground) {
		conf(g, g.machine.read(t, "home/.config/nix/nix.conf")+"substitute = false\n")
	})
	plant("substituters-set-anew", func(g *ground) {
		g.machine.write(t, "etc/nix.conf", "extra-substituters = "+g.url+"\nextra-trusted-public-keys = "+c.key.Public+"\n")
		conf(g, "substituters = https://cache.nixos.org\n")
	})
	plant("key-not-trusted", func(g *ground) { conf(g, "extra-substituters = "+g.url) })
	plant("key-malformed", func(g *ground) { g.use(t, g.url, c.key.Public+" half-1:abc") })
	plant("keys-set-anew", func(g *ground) {
		g.machine.write(t, "etc/nix.conf", "extra-trusted-public-keys = "+c.key.Public+"\n")
		conf(g, "trusted-public-keys = cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\nextra-substituters = "+g.url)
	})
	plant("key-changed", func(g *ground) { g.use(t, g.url, other.key.Public) })
	// The same without a list of keys, from a signature alone.
	plant("signature-wrong", func(g *ground) {
		g.remove(t, "public-keys")
		g.use(t, g.url, other.key.Public)
	}, c.path)
	plant("daemon-silent", func(g *ground) { g.with = []string{"NIX_REMOTE=unix://" + g.machine.path("none")} })
}

// TestDoctorPath plants faults in what a cache has of a path.
func TestDoctorPath(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	for fault, do := range map[string]func(t *testing.T, g *ground){
		"not-there":       func(t *testing.T, g *ground) { g.remove(t, "*.narinfo") },
		"narinfo-damaged": func(t *testing.T, g *ground) { g.edit(t, "*.narinfo", func(s string) string { return s[:40] }) },
		"nar-missing":     func(t *testing.T, g *ground) { g.remove(t, "nar/*") },
		"nar-size":        func(t *testing.T, g *ground) { g.edit(t, "nar/*", func(s string) string { return s + "x" }) },
		"nar-damaged": func(t *testing.T, g *ground) {
			g.edit(t, "nar/*", func(s string) string { return s[:len(s)/2] + strings.Repeat("x", len(s)-len(s)/2) })
		},
		"nar-hash": func(t *testing.T, g *ground) {
			nixtest.Program{Nix: peers.Newest(t)}.Output(t, "export", "--force", "--store", peers.Closure(t).Root, "--to", g.tree, "-k", g.key.File, "--compression", "none", g.path)
			g.edit(t, "nar/*.nar", func(s string) string { return s[:len(s)-1] + "x" })
		},
		"unsigned": func(t *testing.T, g *ground) {
			g.edit(t, "*.narinfo", func(s string) string { return s[:strings.Index(s, "Sig:")] })
		},
		"reference-missing": nil,
	} {
		t.Run(fault, func(t *testing.T) {
			g := newGround(t, c)
			path := c.path
			if do == nil {
				path = withoutReference(t, g)
			} else {
				do(t, g)
			}
			g.ills(t, fault, g.url, path, "--deep")
		})
	}
	g := newGround(t, c)
	g.healthy(t, g.url, c.path, "--deep")
}

// withoutReference puts a path into the tree whose reference is missing there, and
// returns it.
func withoutReference(t testing.TB, g *ground) string {
	t.Helper()
	store := peers.Closure(t)
	app := store.Named(t, "libgcc-s1-")
	nixtest.Program{Nix: peers.Newest(t)}.Output(t, "export", "--store", store.Root, "--to", g.tree, "-k", g.key.File, app)
	text, err := os.ReadFile(filepath.Join(g.tree, filepath.Base(app)[:32]+".narinfo"))
	if err != nil {
		t.Fatal(err)
	}
	_, refs, _ := strings.Cut(string(text), "References: ")
	refs, _, _ = strings.Cut(refs, "\n")
	for _, ref := range strings.Fields(refs) {
		if !strings.HasPrefix(filepath.Base(app), ref[:32]) {
			if err := os.Remove(filepath.Join(g.tree, ref[:32]+".narinfo")); err != nil {
				t.Fatal(err)
			}
			return app
		}
	}
	t.Fatalf("%s refers to nothing else", app)
	return ""
}

// TestDoctorHealthy: nothing is found where all is right, however it is served.
func TestDoctorHealthy(t *testing.T) {
	c := newCache(t, "doctor.example.org-1")
	s := startServe(t, c)
	g := groundAt(t, c, s.url)
	g.healthy(t)
	g.healthy(t, s.url+"/", c.path, "--deep")
	g.machine.write(t, "home/.config/nix/nix.conf", "")
	g.nixstatic(t, "use", s.url, "--yes", "--write", "user").Want(t, 0)
	g.healthy(t)

	store := minio.Start(t, 1)
	env := []string{"AWS_ACCESS_KEY_ID=" + store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + store.SecretKey}
	g.with = env
	bucket := "s3://cache?endpoint=" + store.Endpoint
	g.nixstatic(t, "init", bucket).Want(t, 0)
	g.nixstatic(t, "sync", c.tree, bucket).Want(t, 0)
	g.healthy(t, bucket)
	g.healthy(t, bucket, c.path, "--deep")
	g.nixstatic(t, "use", bucket, "--yes", "--write", "user").Want(t, 0)
	g.healthy(t)
	g.with = append(env, "AWS_SECRET_ACCESS_KEY=wrong")
	if d := g.doctor(t); d.OK || !slices.Contains(d.faults(), "unreachable") && !slices.Contains(d.faults(), "cache-info-unreadable") {
		t.Errorf("a bucket that may not be read: %+v", d)
	}
}
