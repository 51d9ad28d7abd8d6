package export

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
)

func TestReferencesFirst(t *testing.T) {
	name := func(letter string) layout.StorePath {
		return layout.StorePath(strings.Repeat(letter, 32) + "-" + letter)
	}
	for _, test := range []struct {
		desc  string
		refs  map[string]string // letter → letters
		roots string
		want  string // "" for an error
	}{
		{"chain", map[string]string{"a": "b", "b": "c", "c": ""}, "a", "cba"},
		{"diamond", map[string]string{"a": "bc", "b": "d", "c": "d", "d": ""}, "a", "dbca"},
		{"to itself", map[string]string{"a": "ab", "b": "b"}, "a", "ba"},
		{"roots on one another", map[string]string{"a": "", "b": "a"}, "ba", "ab"},
		{"what the tree has is left out", map[string]string{"a": "x", "b": ""}, "", "ab"},
		{"circle", map[string]string{"a": "b", "b": "a"}, "a", ""},
		{"circle behind", map[string]string{"a": "b", "b": "cb", "c": "d", "d": "b"}, "a", ""},
		{"circle without a root", map[string]string{"a": "", "b": "c", "c": "b"}, "a", ""},
	} {
		t.Run(test.desc, func(t *testing.T) {
			steps := map[layout.StorePath]Step{}
			for letter, refs := range test.refs {
				info := layout.PathInfo{Path: name(letter)}
				for _, ref := range strings.Split(refs, "") {
					info.References = append(info.References, name(ref))
				}
				steps[info.Path] = Step{Info: info}
			}
			var roots []layout.StorePath
			for _, root := range strings.Split(test.roots, "") {
				roots = append(roots, name(root))
			}
			order, err := referencesFirst(steps, roots)
			var got string
			for _, step := range order {
				got += step.Info.Path.Name()
			}
			if (err != nil) != (test.want == "") {
				t.Errorf("error %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
		})
	}
}
