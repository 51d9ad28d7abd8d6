package main

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// everyCommand calls f for each command and what belongs to it.
func everyCommand(t *testing.T, f func(words []string, c *cli.Command)) {
	t.Helper()
	var walk func(words []string, commands []*cli.Command)
	walk = func(words []string, commands []*cli.Command) {
		for _, c := range commands {
			words := append(words[:len(words):len(words)], c.Name)
			f(words, c)
			walk(words, c.Subcommands)
		}
	}
	walk(nil, newApp(nil, nil, nil).Commands)
}

// says runs a command line, and returns what it says.
func says(t *testing.T, words ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err strings.Builder
	code = runApp(t.Context(), append([]string{"nixstatic"}, words...), strings.NewReader(""), &out, &err)
	return code, out.String(), err.String()
}

// Each help fits a terminal, whichever way it is asked for.
func TestHelpFits(t *testing.T) {
	check := func(name, text string) {
		t.Helper()
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
		if strings.Contains(text, "(default: false)") {
			t.Errorf("%s tells of a default that says nothing:\n%s", name, text)
		}
		// Words of the source: users know a narinfo and a cache.
		if word := regexp.MustCompile(`\b(records?|keeps? to conditions|trees)\b`).FindString(text); word != "" {
			t.Errorf("%s says %q:\n%s", name, word, text)
		}
		if !strings.Contains(text, "\nUsage: nixstatic") {
			t.Errorf("%s has no usage:\n%s", name, text)
		}
	}
	_, all, _ := says(t)
	check("nixstatic", all)
	if _, again, _ := says(t, "help"); again != all {
		t.Errorf("help says something else than no command:\n%s", again)
	}
	everyCommand(t, func(words []string, c *cli.Command) {
		if c.Hidden {
			return
		}
		name := strings.Join(words, " ")
		if name == "help" {
			return
		}
		_, text, _ := says(t, append(words[:len(words):len(words)], "--help")...)
		check(name, text)
		if len(words) == 1 && !strings.Contains(all, "\n  "+c.Name+" ") {
			t.Errorf("%s is not among the commands", c.Name)
		}
		code, again, stderr := says(t, append([]string{"help"}, words...)...)
		// The library adds --help to the flags of commands that were run.
		if code != 0 || stderr != "" || !strings.HasPrefix(again, text[:strings.Index(text, "\n\n")]) {
			t.Errorf("help %s: exit code %d, %s%s", name, code, stderr, again)
		}
	})
}

// Many flags come in groups.
func TestHelpGroups(t *testing.T) {
	_, text, _ := says(t, "serve", "--help")
	for _, title := range []string{"Where", "Who may", "Signatures", "Limits", "Pruning", "What is told"} {
		if !strings.Contains(text, "\n"+title+"\n") {
			t.Errorf("serve has no group %q:\n%s", title, text)
		}
	}
}

// TestMistyped: a mistake names what is likely meant, and the command whose help
// tells more.
func TestMistyped(t *testing.T) {
	for line, want := range map[string][]string{
		"exprot --to t p":             {`there is no command "exprot"`, "did you mean nixstatic export?"},
		"serv t":                      {`there is no command "serv"`, "did you mean nixstatic serve?"},
		"key genrate":                 {`there is no command "genrate" of key`, "did you mean nixstatic key generate?"},
		"gc polcy":                    {"polcy is not a binary cache", "did you mean nixstatic gc policy?"},
		"help exprot":                 {`there is no command "exprot"`, "did you mean nixstatic export?"},
		"help gc whi":                 {`there is no command "whi" of gc`, "did you mean nixstatic gc why?"},
		"xyzzy":                       {`there is no command "xyzzy"`, "hint: nixstatic --help lists the commands"},
		"export --form u --to t p":    {"nixstatic export has no flag --form", "did you mean --from? nixstatic export --help"},
		"export --secret-key k p":     {"has no flag --secret-key", "did you mean --secret-key-file?"},
		"verify --dep t":              {"nixstatic verify has no flag --dep", "did you mean --deep?"},
		"gc why --jsno t p":           {"nixstatic gc why has no flag --jsno", "did you mean --json? nixstatic gc why --help"},
		"export --xyzzy --to t p":     {"nixstatic export has no flag --xyzzy", "hint: nixstatic export --help explains it"},
		"export -x --to t p":          {"nixstatic export has no flag -x", "hint: nixstatic export --help explains it"},
		"export --jobs many --to t p": {`invalid value "many" for flag --jobs`, "hint: nixstatic export --help explains it"},
		"export -j -3 --to t p":       {"--jobs -3: want 1 or more", "hint: nixstatic export --help explains it"},
		"export p --to":               {"the flag --to needs a value", "hint: nixstatic export --help explains it"},
		"token create --file f":       {"token create needs --name", "hint: nixstatic token create --help explains it"},
		"--jsno":                      {"nixstatic has no flag --jsno", "hint: nixstatic help lists the commands"},
	} {
		t.Chdir(t.TempDir())
		code, stdout, stderr := says(t, strings.Fields(line)...)
		if code == 0 || stdout != "" {
			t.Errorf("%s: exit code %d, %q", line, code, stdout)
		}
		for _, part := range want {
			if !strings.Contains(stderr, part) {
				t.Errorf("%s says\n%swant %q", line, stderr, part)
			}
		}
	}
}

// TestHelpHolds: a line of a help that is indented, a row of a table or an example, holds on a
// line, or is a command, which is broken as a shell takes it.
func TestHelpHolds(t *testing.T) {
	everyCommand(t, func(words []string, c *cli.Command) {
		for line := range strings.Lines(c.Description) {
			line = descriptionIndent + strings.TrimRight(line, "\n")
			if strings.HasPrefix(line, descriptionIndent+" ") && utf8.RuneCountInString(line) > helpWidth && !isCommand.MatchString(line) {
				t.Errorf("%s: %s", words, line)
			}
		}
	})
	for _, line := range []string{"sudo nixstatic watch", "OUT_PATHS=/nix/store/… nixstatic watch send", "nix-store -q ./result | nixstatic push"} {
		broken := wrapExample(descriptionIndent + line + strings.Repeat(" https://cache.example.org", 5))
		for _, part := range broken[:len(broken)-1] {
			if !strings.HasSuffix(part, " \\") {
				t.Errorf("%s is broken into %q", line, broken)
			}
		}
	}
}
