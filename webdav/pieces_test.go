package webdav

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

func TestParsePieceRange(t *testing.T) {
	for _, tt := range []struct {
		text string
		want pieceRange
		ok   bool
	}{
		{"bytes 0-9/100", pieceRange{offset: 0, size: 10, total: 100}, true},
		{"bytes 90-99/100", pieceRange{offset: 90, size: 10, total: 100}, true},
		{"bytes */100", pieceRange{total: 100, ask: true}, true},
		{"bytes */0", pieceRange{total: 0, ask: true}, true},
		{"bytes 0-9/*", pieceRange{}, false},
		{"bytes 0-100/100", pieceRange{}, false},
		{"bytes 9-0/100", pieceRange{}, false},
		{"bytes -9/100", pieceRange{}, false},
		{"bytes 0-/100", pieceRange{}, false},
		{"bytes +0-9/100", pieceRange{}, false},
		{"bytes 0-9/99999999999999999999", pieceRange{}, false},
		{"bytes 0-9", pieceRange{}, false},
		{"lines 0-9/100", pieceRange{}, false},
		{"", pieceRange{}, false},
	} {
		got, err := parsePieceRange(tt.text)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		}
	}
}

func FuzzPieceRange(f *testing.F) {
	f.Add("bytes 0-9/100")
	f.Add("bytes */100")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parsePieceRange(text)
		if err == nil && !got.ask && (got.size < 1 || got.offset < 0 || got.offset+got.size > got.total) {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

// A NAR may come in pieces, and its client is told which are missing.
func TestPieces(t *testing.T) {
	_, paths := example(t)
	r := newRig(t, nil)
	app := paths.Named("app")
	nar := app.NAR // one piece is enough here: it is smaller than that
	key := layout.NARKey(sha256.Sum256(nar), compress.None.Extension())
	total := strconv.Itoa(len(nar))
	ask := func() reaction {
		t.Helper()
		return r.do(t, "PUT", "/upload/"+string(key), nil, "Content-Range: bytes */"+total)
	}
	first := ask()
	var told partAnswer
	if err := json.Unmarshal([]byte(first.Body), &told); err != nil {
		t.Fatalf("%d %s: %v", first.Status, first.Body, err)
	}
	if diff := cmp.Diff(partAnswer{Version: 1, PieceSize: inbox.PieceSize, Missing: []int64{0}}, told); diff != "" || first.Status != http.StatusAccepted {
		t.Errorf("status %d, what is missing (-want +got):\n%s", first.Status, diff)
	}
	for header, body := range map[string]string{
		"Content-Range: bytes 0-9/" + total:                                      string(nar[:10]), // no whole piece
		"Content-Range: bytes 0-" + strconv.Itoa(len(nar)-1) + "/" + total:       string(nar[1:]),  // another size than announced
		"Content-Range: octets 0-" + strconv.Itoa(len(nar)-1) + "/" + total:      string(nar),
		"Content-Range: bytes 0-" + strconv.Itoa(len(nar)-1) + "/" + total + "0": string(nar),
	} {
		if got := r.do(t, "PUT", "/upload/"+string(key), strings.NewReader(body), header); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", header, got.Status, got.Body)
		}
	}
	whole := "Content-Range: bytes 0-" + strconv.Itoa(len(nar)-1) + "/" + total
	if got := r.do(t, "PUT", "/upload/"+string(key), bytes.NewReader(nar), whole); got.Status != http.StatusCreated {
		t.Fatalf("the piece: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "GET", "/"+string(key), nil); got.Status != http.StatusNotFound {
		t.Errorf("before it was asked for: %d", got.Status)
	}
	if got := ask(); got.Status != http.StatusCreated {
		t.Errorf("put together: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "GET", "/"+string(key), nil); got.Status != http.StatusOK || got.Body != string(nar) {
		t.Errorf("the NAR: %d, %d bytes", got.Status, len(got.Body))
	}
	if got := ask(); got.Status != http.StatusNoContent {
		t.Errorf("once more: %d %s", got.Status, got.Body)
	}
	if got := r.do(t, "PUT", "/upload/log/x.drv", nil, "Content-Range: bytes */10"); got.Status != http.StatusBadRequest {
		t.Errorf("of a log: %d %s", got.Status, got.Body)
	}
}

// Each path of a question is looked up, and costs its client.
func TestQuestionsCost(t *testing.T) {
	dir := treetest.OpenDir(t, t.TempDir())
	spent := 0
	h := newHandler(Config{Tree: dir, Auth: AllowAll, Log: quiet}, fakeInbox{Lister: dir, spent: &spent})
	ask := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/upload/?missing", strings.NewReader(strings.Repeat("0", 32)+"\n"+strings.Repeat("1", 32)+"\n")))
		return w.Code
	}
	if code := ask(); code != 200 || spent != 2*lookupsOfPath {
		t.Errorf("%d, for %d lookups", code, spent)
	}
	spent = -1
	if code := ask(); code != 429 {
		t.Errorf("of a client that has had too much looked up: %d", code)
	}
}

// A client may ask for many paths at once, and is told which of them are to be sent.
func TestMissing(t *testing.T) {
	dir, paths := example(t)
	r := newRig(t, nil)
	var hashes []string
	for _, p := range paths.Paths {
		hashes = append(hashes, p.Info.Path.Hash())
	}
	ask := func(body string) (missingAnswer, reaction) {
		t.Helper()
		got := r.do(t, "POST", "/upload/?missing", strings.NewReader(body))
		var answer missingAnswer
		if got.Status == http.StatusOK {
			if err := json.Unmarshal([]byte(got.Body), &answer); err != nil {
				t.Fatal(err)
			}
		}
		return answer, got
	}
	question := strings.Join(hashes, "\r\n")
	want := missingAnswer{Version: 1, Missing: hashes, PieceSize: inbox.PieceSize}
	if got, _ := ask(question); !cmp.Equal(want, got) {
		t.Errorf("of an empty tree: %s", cmp.Diff(want, got))
	}
	for _, key := range keysOf(t, dir) {
		r.put(t, dir, key)
	}
	want.Missing = []string{}
	if got, _ := ask(question); !cmp.Equal(want, got) {
		t.Errorf("of a tree that has them: %s", cmp.Diff(want, got))
	}
	// A record that leads nowhere is of no use.
	app := paths.Named("app")
	text, err := layout.ReadAll(t.Context(), r.tree, layout.NarInfoKey(app.Info.Path))
	if err != nil {
		t.Fatal(err)
	}
	n, err := layout.ParseNarInfo(text, layout.DefaultStoreDir)
	if err != nil {
		t.Fatal(err)
	}
	nar, err := n.NARKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.tree.Delete(t.Context(), nar); err != nil {
		t.Fatal(err)
	}
	want.Missing = []string{app.Info.Path.Hash()}
	if got, _ := ask(question); !cmp.Equal(want, got) {
		t.Errorf("after a NAR was lost: %s", cmp.Diff(want, got))
	}
	// A line of a question may cost much more than its bytes: a path is looked up once.
	if got, _ := ask(question + strings.Repeat("\n"+want.Missing[0], 1000)); !cmp.Equal(want, got) {
		t.Errorf("asked a thousand times: %s", cmp.Diff(want, got))
	}
	for body, status := range map[string]int{
		"":                                       http.StatusOK,
		"app\n":                                  http.StatusBadRequest,
		"../" + hashes[0] + "\n":                 http.StatusBadRequest,
		strings.Repeat("a", 1000):                http.StatusBadRequest,
		strings.Repeat(hashes[0]+"\n", maxAsked): http.StatusOK,
		strings.Repeat(hashes[0]+"\n", maxAsked+1): http.StatusRequestEntityTooLarge,
	} {
		if _, got := ask(body); got.Status != status {
			t.Errorf("%.50q: %d %s, want %d", body, got.Status, got.Body, status)
		}
	}
	if got := r.do(t, "POST", "/?missing", strings.NewReader(question)); got.Status != http.StatusMethodNotAllowed {
		t.Errorf("at the read URL: %d", got.Status)
	}
}
