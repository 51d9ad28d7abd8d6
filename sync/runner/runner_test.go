package runner

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// A runner that fails for a moment is asked again; one that refuses, or is something else, is not. The
// secret that it is asked with is in no error.
func TestToken(t *testing.T) {
	for name, test := range map[string]struct {
		answers  []int  // one after the other, the last one again and again
		body     string // of 200
		requests int64
		want     string // in the error; "": a token
	}{
		"a token":          {[]int{200}, `{"count":1,"value":"a.b.c"}`, 1, ""},
		"fails at first":   {[]int{503, 200}, `{"value":"a.b.c"}`, 2, ""},
		"refuses":          {[]int{401}, "", 1, "401 Unauthorized"},
		"a page":           {[]int{200}, "<html>sign in</html>", 1, "something else"},
		"no token in it":   {[]int{200}, `{"value":""}`, 1, "not an ID token"},
		"something longer": {[]int{200}, `{"value":"a b.c.d"}`, 1, "not an ID token"},
		"leads elsewhere":  {[]int{302}, "", 1, "302 Found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int64
			runner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := int(requests.Add(1))
				if r.Header.Get("Authorization") != "Bearer the-secret" || r.URL.Query().Get("audience") != "https://cache.example.org" || r.URL.Query().Get("v") != "2" {
					t.Errorf("asked %s with %v", r.URL, r.Header)
				}
				w.Header().Set("Location", "http://127.0.0.1:1/")
				w.WriteHeader(test.answers[min(n, len(test.answers))-1])
				fmt.Fprint(w, test.body)
			}))
			defer runner.Close()
			env := map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": runner.URL + "/x?v=2", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "the-secret"}
			raw, err := Find(func(name string) string { return env[name] }).Token(t.Context(), "https://cache.example.org")
			if test.want == "" && (raw != "a.b.c" || err != nil) || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "the-secret")) {
				t.Errorf("%q, %v; want %q", raw, err, test.want)
			}
			if n := requests.Load(); n != test.requests {
				t.Errorf("%d requests, want %d", n, test.requests)
			}
		})
	}
}
