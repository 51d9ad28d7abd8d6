//go:build real

package e2e_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// A stock is a tree that the real Nix wrote, with xz and without listings, and what is in its path.
type stock struct {
	dir, path string
	files     map[string]string
}

func newStock(t *testing.T, p nixtest.Program) stock {
	t.Helper()
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{9}).Read(noise)
	s := stock{dir: filepath.Join(t.TempDir(), "stock"), files: map[string]string{
		"a/noise": string(noise), "z/last": "the last file\n", "z/\x1b[31m\u202ename": "steers\n"}}
	files := filepath.Join(t.TempDir(), "files")
	for name, text := range s.files {
		file := filepath.Join(files, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(t.TempDir(), "root")
	s.path = p.Nix.Output(t, "nix-store", "--store", root, "--add", files)
	p.Nix.Output(t, "nix", "copy", "--no-check-sigs", "--store", root, "--to", "file://"+s.dir+"?compression=xz", s.path)
	return s
}

// nar is the file of the NAR.
func (s stock) nar(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "nar", "*.nar.xz"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// TestLooking looks into a tree of stock Nix behind web servers: with parts, without, and
// with a password.
func TestLooking(t *testing.T) {
	p := newest(t)
	s := newStock(t, p)
	want := p.Output(t, "ls", "-q", "-lR", s.dir, s.path)
	if strings.ContainsAny(want, "\x1b\u202e") || !strings.Contains(want, `\x1b[31m\u202ename`) {
		t.Errorf("the directory is listed as %q", want)
	}
	passwords := filepath.Join(t.TempDir(), "passwords")
	netrc := filepath.Join(t.TempDir(), "netrc")
	for file, text := range map[string]string{passwords: "ann:{PLAIN}secret\n", netrc: "machine 127.0.0.1 login ann password secret\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, server := range []struct {
		name, settings string
		flags          []string
	}{
		{"plain", "", nil},
		{"without parts", "max_ranges 0;", nil},
		{"private", fmt.Sprintf("auth_basic x; auth_basic_user_file %q;", passwords), []string{"--netrc-file", netrc}},
	} {
		t.Run(server.name, func(t *testing.T) {
			nginx := nixtest.StartNginx(t, func(address string) string {
				return fmt.Sprintf("server { listen %s; root %q; log_not_found off; %s }", address, s.dir, server.settings)
			})
			run := func(command string, args ...string) nixtest.Result {
				t.Helper()
				return p.Run(t, append(append([]string{command}, server.flags...), args...)...)
			}
			if got := run("ls", "-q", "-lR", nginx.URL, s.path).Want(t, 0).Output(); got != want {
				t.Errorf("ls: %s, want %s", got, want)
			}
			for name, text := range s.files {
				for _, verify := range []string{"--verify=false", "--verify"} {
					if got := run("cat", verify, nginx.URL, s.path+"/"+name).Want(t, 0).Stdout; got != text {
						t.Errorf("cat %s %q: %d bytes, want %d, or other ones", verify, name, len(got), len(text))
					}
				}
			}
			if got := run("info", nginx.URL, s.path).Want(t, 0).Stdout; !strings.Contains(got, "(xz)") || !strings.Contains(got, "none that can be used") {
				t.Errorf("info: %s", got)
			}
			// Nothing lists the names, but a hash can be asked for.
			if r := run("find", nginx.URL, "files").Want(t, 1); !strings.Contains(r.Stderr, "cannot be searched: the server does not list") || !strings.Contains(r.Stderr, "\nnixstatic: hint: ") {
				t.Errorf("find: %s", r.Stderr)
			}
			if r := run("ls", nginx.URL, "files").Want(t, 1); !strings.Contains(r.Stderr, "cannot be searched for the name files") || !strings.Contains(r.Stderr, "\nnixstatic: hint: ") {
				t.Errorf("ls: %s", r.Stderr)
			}
			if got := run("find", nginx.URL, s.path).Want(t, 0).Output(); got != s.path {
				t.Errorf("find: %s", got)
			}
			if r := run("find", nginx.URL, hashPart(s.path), "--file", "last").Want(t, 1); !strings.Contains(r.Stderr, "1 path without a listing") {
				t.Errorf("find --file: %s", r.Stderr)
			}
			run("find", nginx.URL, strings.Repeat("0", 32)).Want(t, 1)
			if len(server.flags) > 0 {
				for _, args := range [][]string{{"ls", nginx.URL, s.path}, {"find", nginx.URL, "x"}, {"info", nginx.URL, s.path}} {
					if r := p.Run(t, args...).Want(t, 1); !strings.Contains(r.Stderr, "401") || !strings.Contains(r.Stderr, "netrc") || r.Stdout != "" {
						t.Errorf("%v without a password: %s", args, r.Stderr)
					}
				}
			}
		})
	}
}

// TestLookingAtDamage prints nothing that was not checked where --verify is given, and tells of a
// NAR that ends too early in any case.
func TestLookingAtDamage(t *testing.T) {
	p := newest(t)
	s := newStock(t, p)
	nginx := nixtest.StartNginx(t, func(address string) string {
		return fmt.Sprintf("server { listen %s; root %q; log_not_found off; }", address, s.dir)
	})
	whole, err := os.ReadFile(s.nar(t))
	if err != nil {
		t.Fatal(err)
	}
	// A listing that lies about where the file is has no say in which bytes are printed.
	listing := filepath.Join(s.dir, hashPart(s.path)+".ls")
	lie := `{"version":1,"root":{"type":"directory","entries":{"z":{"type":"directory","entries":{"last":{"type":"regular","size":20,"narOffset":400}}}}},"seek":{"file":"x","frames":[[1,1],[2,2]]}}`
	if err := os.WriteFile(listing, []byte(lie), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := p.Run(t, "cat", nginx.URL, s.path+"/z/last").Want(t, 0).Stdout; got != s.files["z/last"] {
		t.Errorf("with a lying listing: %q", got)
	}
	if err := os.Remove(listing); err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() []byte{
		"cut off": func() []byte { return whole[:len(whole)-200] },
		"changed": func() []byte { b := bytes.Clone(whole); b[len(b)/2] ^= 1; return b },
		"empty":   func() []byte { return nil },
		"another": func() []byte { return []byte("<html>not a NAR</html>") },
	} {
		if err := os.WriteFile(s.nar(t), damage(), 0o644); err != nil {
			t.Fatal(err)
		}
		commands := [][]string{{"cat", "--verify", nginx.URL, s.path + "/a/noise"}, {"cat", "--verify", nginx.URL, s.path + "/z/last"}, {"ls", nginx.URL, s.path}}
		if name != "changed" { // what is behind the changed bytes can be read
			commands = append(commands, []string{"cat", nginx.URL, s.path + "/z/last"})
		}
		for _, args := range commands {
			if r := p.Run(t, args...).Want(t, 1); r.Stdout != "" || !strings.Contains(r.Stderr, "nixstatic: error: ") {
				t.Errorf("%s: %v: %d bytes, %s", name, args, len(r.Stdout), r.Stderr)
			}
		}
	}
}

// TestLookingIntoBucket looks into a bucket of the real MinIO: by the search index, and without.
func TestLookingIntoBucket(t *testing.T) {
	p := newest(t)
	s := newStock(t, p)
	ours := filepath.Join(t.TempDir(), "ours")
	p.Output(t, "init", ours)
	p.Output(t, "export", "-q", "--from", "file://"+s.dir, "--no-check-sigs", "--to", ours, s.path)
	store := minio.Start(t, 1)
	env := []string{"AWS_ACCESS_KEY_ID=" + store.AccessKey, "AWS_SECRET_ACCESS_KEY=" + store.SecretKey,
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}
	run := func(args ...string) nixtest.Result {
		t.Helper()
		cmd := p.Command(t, args...)
		cmd.Env = append(cmd.Env, env...)
		return nixtest.Wait(t, cmd)
	}
	for name, from := range map[string]string{"ours": ours, "stock": s.dir} {
		bucket := "s3://" + name + "?scheme=http&endpoint=" + strings.TrimPrefix(store.Endpoint, "http://")
		run("init", "--no-page", bucket).Want(t, 0)
		run("sync", "-q", from, bucket).Want(t, 0)
		for _, args := range [][]string{{"find", bucket, "files"}, {"find", bucket, "FIL*"}, {"find", bucket, s.path}, {"find", bucket, hashPart(s.path)[:9]}, {"find", "--scan", bucket, "files"}} {
			if got := run(args...).Want(t, 0).Output(); got != s.path {
				t.Errorf("%v: %s", args, got)
			}
		}
		run("find", bucket, "nothing-like-this").Want(t, 1)
		if name == "ours" {
			if got := run("find", bucket, "--file", "la*").Want(t, 0).Output(); got != s.path+"/z/last" {
				t.Errorf("find --file: %s", got)
			}
		}
		if got, want := run("ls", "-q", "-lR", bucket, "files").Want(t, 0).Output(), p.Output(t, "ls", "-q", "-lR", from, s.path); got != want {
			t.Errorf("%s: ls: %s, want %s", name, got, want)
		}
		for file, text := range s.files {
			if got := run("cat", bucket, "files/"+file).Want(t, 0).Stdout; got != text {
				t.Errorf("%s: cat %q: %d bytes, want %d, or other ones", name, file, len(got), len(text))
			}
		}
		if got := run("info", bucket, "files").Want(t, 0).Stdout; !strings.Contains(got, "closure      1 path, ") {
			t.Errorf("%s: info: %s", name, got)
		}
		cmd := p.Command(t, "ls", bucket, s.path)
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=wrongwrong", env[2], env[3])
		if r := nixtest.Wait(t, cmd).Want(t, 1); r.Stdout != "" || !strings.Contains(r.Stderr, "nixstatic: hint: ") {
			t.Errorf("%s: without rights: %s", name, r.Stderr)
		}
	}
}
