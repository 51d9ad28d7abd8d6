//go:build real

// Package script_test runs the scripts in testdata: each is what a person types,
// and what nixstatic and Nix make of it. They are the documentation that cannot
// go stale.
//
// Beside the commands of every testscript there are
//
//	nixstatic ARG...   runs the program; ! says that it must not succeed
//	code N             checks the exit code of the last nixstatic
//	set NAME FILE      sets a variable to the text of a file, without its newline
//	nix, nix-store     (with exec) are the newest Nix
//
// and the variables
//
//	STORE   a store root, as nix --store takes it, with all that follows
//	APP     a store path that refers to others
//	DRV     a derivation; its closure is three paths, all content-addressed
//	DEBUG   a path with separate debug files; there is a log of its build
//	ODD     a path whose name needs escaping in URLs; there is a log as well
//	S3      the endpoint of a MinIO that is empty; its credentials are in the
//	        environment, where the AWS tools look
package script_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/nixstatic/nixstatic/tests/minio"
	"github.com/nixstatic/nixstatic/tests/nixtest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

func TestMain(m *testing.M) { nixtest.Main(m) }

func TestScripts(t *testing.T) {
	binary, nix, store := nixtest.Binary(t), peers.Newest(t), peers.Closure(t)
	bucket := minio.Start(t, 1)
	vars := map[string]string{
		"STORE": store.Root,
		"APP":   store.Named(t, "libgcc-s1-"),
		"DRV":   store.Named(t, "second.drv"),
		"DEBUG": store.Named(t, "hello-2.10-debug"),
		"ODD":   store.Named(t, "odd?name"),
		"S3":    bucket.Endpoint,

		"AWS_ACCESS_KEY_ID": bucket.AccessKey, "AWS_SECRET_ACCESS_KEY": bucket.SecretKey,
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for name, value := range vars {
				env.Setenv(name, value)
			}
			env.Setenv("NIXSTATIC", binary) // for shell scripts
			env.Setenv("PATH", filepath.Dir(nix.Bin("nix"))+string(os.PathListSeparator)+os.Getenv("PATH"))
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Values[lastCode{}] = new(int)
			return os.Mkdir(home, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"nixstatic": func(ts *testscript.TestScript, not bool, args []string) {
				code, err := exitCode(ts.Exec(binary, args...))
				ts.Check(err)
				checkSecrets(ts)
				*ts.Value(lastCode{}).(*int) = code
				if (code == 0) == not {
					ts.Fatalf("exit code %d", code)
				}
			},
			"code": checkCode,
			"set": func(ts *testscript.TestScript, not bool, args []string) {
				if not || len(args) != 2 {
					ts.Fatalf("usage: set NAME FILE")
				}
				ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
			},
		},
	})
}

type lastCode struct{}

func exitCode(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// checkSecrets looks for the keys of the script in what nixstatic printed.
func checkSecrets(ts *testscript.TestScript) {
	files, err := filepath.Glob(ts.MkAbs("*.key"))
	ts.Check(err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // a script may keep directories and the like under such a name
		}
		_, secret, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
		// The secret seed precedes the public half. A text without room for both is a
		// public key, which may be shown.
		if len(secret) >= 80 && strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), secret[:40]) {
			ts.Fatalf("the output holds the secret of %s", file)
		}
	}
}

func checkCode(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) != 1 {
		ts.Fatalf("usage: code N")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := *ts.Value(lastCode{}).(*int); got != want {
		ts.Fatalf("%s", fmt.Sprintf("exit code %d, want %d", got, want))
	}
}
