package s3

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Grants of others stay, and ours is there once.
func TestAddStatement(t *testing.T) {
	ours := statement{Sid: "Ours", Effect: "Allow", Resource: []string{"new"}}
	for name, c := range map[string]struct {
		policy string
		sids   []string
	}{
		"none":             {"", []string{"Ours"}},
		"others":           {`{"Version": "2012-10-17", "Id": "x", "Statement": [{"Sid": "Theirs", "NotPrincipal": {"AWS": "a"}}, {"Effect": "Deny"}]}`, []string{"Theirs", "", "Ours"}},
		"ours of old":      {`{"Statement": [{"Sid": "Ours", "Resource": ["old"]}, {"Sid": "Theirs"}]}`, []string{"Theirs", "Ours"}},
		"one, no brackets": {`{"Statement": {"Sid": "Theirs"}}`, []string{"Theirs", "Ours"}},
	} {
		text, err := addStatement(c.policy, ours)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var doc struct {
			Version   string
			Statement []map[string]any
		}
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			t.Fatal(err)
		}
		var sids []string
		for _, s := range doc.Statement {
			sid, _ := s["Sid"].(string)
			sids = append(sids, sid)
			if strings.Contains(c.policy, "NotPrincipal") && sid == "Theirs" && s["NotPrincipal"] == nil {
				t.Errorf("%s: their statement lost something: %v", name, s)
			}
		}
		if diff := cmp.Diff(c.sids, sids); diff != "" || doc.Version == "" {
			t.Errorf("%s: %s", name, text)
		}
	}
	if _, err := addStatement("no JSON", ours); err == nil {
		t.Error("a policy that cannot be read is replaced")
	}
}
