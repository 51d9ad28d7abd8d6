package webdav

import (
	"strings"
	"testing"
)

func TestFolders(t *testing.T) {
	r, _ := populated(t)
	for _, test := range []struct {
		method, path string
		want         int
	}{
		{"MKCOL", "nar", 405}, {"MKCOL", "nar/", 405}, {"MKCOL", "realisations/", 405}, {"MKCOL", "", 405},
		{"MKCOL", "other", 403}, {"MKCOL", "nar/ab", 403}, {"MKCOL", ".nixstatic/x", 403}, {"MKCOL", "../x", 400},
		{"MKCOL", "build-trace-v2/x.drv", 201}, {"MKCOL", "build-trace-v2/x.drv/", 405}, {"MKCOL", "build-trace-v2/y.drv/z", 409},
		{"PROPFIND", "build-trace-v2/x.drv", 207}, {"DELETE", "build-trace-v2/x.drv", 204}, {"PROPFIND", "build-trace-v2/x.drv", 404},
		{"DELETE", "nar/", 403}, {"DELETE", "nix-cache-info", 403}, {"DELETE", "nothing", 404}, {"MOVE", "nix-cache-info", 403}, {"COPY", "nix-cache-info", 403},
		{"OPTIONS", "", 200}, {"OPTIONS", "nothing", 200}, {"POST", "nix-cache-info", 405}, {"PATCH", "nix-cache-info", 405},
	} {
		got := r.do(t, test.method, "/upload/"+test.path, nil, "Depth: 0", "Destination: "+r.URL+"/upload/index.html")
		if got.Status != test.want {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, got.Status, got.Body, test.want)
		}
		if test.method == "DELETE" && got.Status == 403 && !strings.Contains(got.Body, "nixstatic") {
			t.Errorf("the refusal does not name the command: %s", got.Body)
		}
	}
	for path, want := range map[string]string{"/upload/": "1, 2", "/": "1"} {
		if got := r.do(t, "OPTIONS", path, nil).Header.Get("DAV"); got != want {
			t.Errorf("OPTIONS %s: class %q, want %q", path, got, want)
		}
	}
	r.whole(t)
}
