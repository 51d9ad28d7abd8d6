package inbox

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// Reasons lists every constant, each with a word of its own.
func TestReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
			for _, v := range spec.Values {
				word, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared = append(declared, Reason(word))
			}
		}
		return true
	})
	listed := Reasons()
	slices.Sort(declared)
	slices.Sort(listed)
	if !slices.Equal(declared, listed) || len(listed) < 20 {
		t.Errorf("declared are %q, listed %q", declared, listed)
	}
	if len(slices.Compact(listed)) != len(declared) {
		t.Error("two reasons share a word")
	}
	for _, reason := range listed {
		if !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(string(reason)) {
			t.Errorf("%q is no word for a metric", reason)
		}
	}
}

func TestRefusalMessages(t *testing.T) {
	cause := errors.New("a secret path")
	r := refuse(BadNAR, "%s", strings.Repeat("é\n", 200)).because(cause)
	if len(r.Msg) > maxMsg || !utf8.ValidString(r.Msg) || strings.Contains(r.Msg, "\n") {
		t.Errorf("the message is %q", r.Msg)
	}
	if !errors.Is(r, cause) || strings.Contains(r.Error(), "secret") {
		t.Errorf("the cause is %v, the message %q", r.Err, r)
	}
	if reasonOf(errors.New("x")) != "" || reasonOf(nil) != "" {
		t.Error("an error without a reason has one")
	}
	for outcome, word := range outcomes {
		if Outcome(outcome).String() != word || word == "" {
			t.Errorf("outcome %d is %q", outcome, Outcome(outcome))
		}
	}
	if got := Outcome(99).String(); got != "Outcome(99)" {
		t.Error(got)
	}
}
