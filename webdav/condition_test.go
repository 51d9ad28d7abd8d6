package webdav

import (
	"strings"
	"testing"
)

// The If header decides about a PUT as RFC 4918 has it.
func TestIfHeader(t *testing.T) {
	r := newRig(t, nil)
	log := "/upload/log/" + strings.Repeat("0", 32) + "-x.drv"
	if got := r.do(t, "PUT", log, strings.NewReader("one")); got.Status != 201 {
		t.Fatal(got)
	}
	etag := r.do(t, "HEAD", log, nil).Header.Get("ETag")
	for _, locked := range []bool{false, true} {
		token := "<opaquelocktoken:none>"
		if locked {
			token = r.lock(t, log, 200)
		}
		for header, want := range map[string][2]int{
			"":                                      {204, 423},
			"(" + token + ")":                       {412, 204},
			"<http://x/y> (" + token + ")":          {412, 204},
			"(" + token + " [" + etag + "])":        {412, 204},
			"(" + token + " [\"other\"])":           {412, 412},
			"([" + etag + "])":                      {204, 423},
			"([\"other\"])":                         {412, 423},
			"(<DAV:no-lock>) (" + token + ")":       {412, 204},
			"(Not <DAV:no-lock>)":                   {204, 423},
			"(Not <DAV:no-lock> " + token + ")":     {412, 204},
			"(Not " + token + ")":                   {204, 423},
			"([\"other\"]) (Not <DAV:no-lock>)":     {204, 423},
			"nonsense":                              {400, 400},
			"(":                                     {400, 400},
			"()":                                    {400, 400},
			strings.Repeat("(<DAV:no-lock>)", 1000): {400, 400},
		} {
			i := 0
			if locked {
				i = 1
			}
			got := r.do(t, "PUT", log, strings.NewReader("one"), "If: "+header)
			if got.Status != want[i] {
				t.Errorf("locked %v, If: %.60s: %d %s, want %d", locked, header, got.Status, got.Body, want[i])
			}
		}
	}
}

// Parsing an If header ends, and never makes conditions of nothing.
func FuzzParseIf(f *testing.F) {
	for _, s := range []string{"(<a>)", `<x> (Not <a> ["b"]) ([W/"c"])`, "(", "()", "Not", "<", "([)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lists, ok := parseIf(s)
		if !ok {
			return
		}
		for _, l := range lists {
			for _, c := range l.conditions {
				if (c.token == "") == (c.etag == "") {
					t.Errorf("%q: %+v", s, c)
				}
			}
		}
	})
}
