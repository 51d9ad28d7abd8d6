//go:build real

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// make install puts manual pages and completions where man and shells look. A real bash
// completes commands and flags, and the real man shows a page.
func TestInstall(t *testing.T) {
	dir, binary := t.TempDir(), nixtest.Binary(t)
	source := filepath.Dir(nixtest.Source(t, "Makefile"))
	// The program is there already: only what is made of it is put in place.
	install := exec.CommandContext(t.Context(), "make", "-C", source, "install-files", "BIN="+binary, "DESTDIR="+dir, "PREFIX=/usr")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	for _, name := range []string{"bin/nixstatic", "share/man/man1/nixstatic.1", "share/man/man1/nixstatic-gc-why.1",
		"share/bash-completion/completions/nixstatic", "share/zsh/site-functions/_nixstatic", "share/fish/vendor_completions.d/nixstatic.fish"} {
		if size(t, filepath.Join(dir, "usr", name)) == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	for line, want := range map[string][]string{
		"nixstatic exp":              {"export"},
		"nixstatic gc wh":            {"why"},
		"nixstatic export --no":      {"--no-check-sigs", "--no-closure"},
		"nixstatic token cr":         {"create"},
		"nixstatic serve ./x --read": {"--read-only"},
	} {
		script := `source "$1"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _nixstatic; printf '%s\n' "${COMPREPLY[@]}"`
		out, err := exec.CommandContext(t.Context(), "bash", "-euc", script, "bash",
			filepath.Join(dir, "usr/share/bash-completion/completions/nixstatic"), line).CombinedOutput()
		if got := strings.Fields(string(out)); err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			// The order is that of the flags.
			for _, word := range want {
				if !strings.Contains(string(out), word+"\n") {
					t.Errorf("%s: %v, %v, want %v", line, got, err, want)
				}
			}
		}
	}
	out, err := exec.CommandContext(t.Context(), "groff", "-man", "-Tascii", "-P-c", filepath.Join(dir, "usr/share/man/man1/nixstatic-export.1")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nixstatic-export - write store paths") || !strings.Contains(string(out), "--secret-key-file FILE") {
		t.Errorf("the page renders as %v\n%s", err, out)
	}
}

func size(t testing.TB, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Error(err)
		return 0
	}
	return st.Size()
}
