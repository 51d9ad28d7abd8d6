// Package workflows has what people do with nixstatic from beginning to end: a
// script for each, with the real Nix, nginx, Caddy and MinIO. A command in a script
// stands word for word in the pages that the script names, so that a reader of
// these pages gets where the script does; a test holds that.
//
// Names and places need no words of their own either. A script runs where
// https://cache.example.org, minio.example.org, /nix, /srv and /media are there
// for it alone: in namespaces of mounts, network and processes that end with it.
// machine.sh makes that, and has the words in which scripts check what came of a
// command.
package workflows

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// assignment gives a name to something that a person copies from one place to another.
var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// TestWords holds that each command of a script stands in README.md or in a page that
// the script names.
func TestWords(t *testing.T) {
	words := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(\w+)\(\) \{`).FindAllStringSubmatch(read(t, "machine.sh"), -1) {
		words[m[1]] = true
	}
	scripts := scripts(t)
	if len(scripts) < 14 {
		t.Errorf("%d scripts", len(scripts))
	}
	for _, script := range scripts {
		text := read(t, script)
		pages := regexp.MustCompile(`(?m)^# Pages: (.*)$`).FindStringSubmatch(text)
		if pages == nil {
			t.Errorf("%s names no pages", script)
			continue
		}
		taught := map[string]bool{}
		for name := range strings.FieldsSeq("README.md " + pages[1]) {
			for _, command := range commands(codeBlocks(read(t, "../../"+name))) {
				taught[command] = true
			}
		}
		for _, command := range commands([]string{text}) {
			if word, _, _ := strings.Cut(command, " "); !words[word] && !assignment.MatchString(command) && !taught[strings.TrimSuffix(command, " &")] {
				t.Errorf("%s: %s\nis neither a word of machine.sh nor in %s", script, command, pages[1])
			}
		}
	}
}

func TestCommands(t *testing.T) {
	const page = "text\n```sh\n$ a b    # why\n\n# all of it\nc \\\n   d\n```\n| e |\n```\nf\n```\n\n    # g\n    $ h 'i # j'\nk\n"
	got := strings.Join(commands(codeBlocks(page)), "\n")
	if want := "a b\nc d\nf\ng\nh 'i # j'"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// scripts lists the workflows.
func scripts(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("[0-9]*.sh")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var fenced = regexp.MustCompile("(?ms)^```\\w*\n(.*?)^```$")

// codeBlocks returns the blocks of a page: fenced ones, and then lines that are indented.
func codeBlocks(page string) (blocks []string) {
	for _, m := range fenced.FindAllStringSubmatch(page, -1) {
		blocks = append(blocks, m[1])
	}
	var indented strings.Builder
	for line := range strings.Lines(fenced.ReplaceAllString(page, "")) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			// The prompt of root looks like a comment.
			indented.WriteString(strings.TrimPrefix(code, "# "))
		}
	}
	return append(blocks, indented.String())
}

// commands returns the commands of blocks, each as one line, without prompts and comments.
func commands(blocks []string) (all []string) {
	for _, block := range blocks {
		joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(block, "")
		for line := range strings.Lines(joined) {
			line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
			line = strings.TrimSpace(regexp.MustCompile(`\s{2,}#.*$`).ReplaceAllString(line, ""))
			if line != "" && !strings.HasPrefix(line, "#") {
				all = append(all, line)
			}
		}
	}
	return all
}
