package main

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlagsFirst: flags may stand anywhere before "--", and take their values
// with them.
func TestFlagsFirst(t *testing.T) {
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	for line, want := range map[string]string{
		"":                                   "",
		"nixstatic":                          "nixstatic",
		"nixstatic --version":                "nixstatic --version",
		"nixstatic nonsense x --y":           "nixstatic nonsense x --y",
		"nixstatic export a --to t b":        "nixstatic export --to t -- a b",
		"nixstatic export a -t t --json b":   "nixstatic export -t t --json -- a b",
		"nixstatic export --to=t a":          "nixstatic export --to=t -- a",
		"nixstatic export a --to -":          "nixstatic export --to - -- a",
		"nixstatic export - --to t":          "nixstatic export --to t -- -",
		"nixstatic export -- a --to t":       "nixstatic export -- a --to t",
		"nixstatic export a -- --to":         "nixstatic export -- a --to",
		"nixstatic export a --unknown b":     "nixstatic export --unknown -- a b",
		"nixstatic key generate x --name n":  "nixstatic key generate --name n -- x",
		"nixstatic key --name n generate":    "nixstatic key --name n generate",
		"nixstatic token revoke n --file f":  "nixstatic token revoke --file f -- n",
		"nixstatic sync a b --dry-run":       "nixstatic sync --dry-run -- a b",
		"nixstatic sync a --include nar b":   "nixstatic sync --include nar -- a b",
		"nixstatic verify t --deep":          "nixstatic verify --deep -- t",
		"nixstatic verify t --deep=false --": "nixstatic verify --deep=false -- t",
	} {
		got, err := flagsFirst(app, strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
	for _, line := range []string{"nixstatic export --to", "nixstatic export a -k", "nixstatic token create --name"} {
		if got, err := flagsFirst(app, strings.Fields(line)); err == nil || !strings.Contains(err.Error(), "needs a value") {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}
