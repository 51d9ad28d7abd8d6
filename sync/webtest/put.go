package webtest

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
)

// PutServer takes PUT into a tree in memory. With dav it wants folders made.
func PutServer(tree *treetest.Mem, dav bool) http.HandlerFunc {
	var mu sync.Mutex
	folders := map[string]bool{}
	return func(w http.ResponseWriter, r *http.Request) {
		key := layout.Key(strings.TrimPrefix(r.URL.Path, "/"))
		mu.Lock()
		known := !dav || path.Dir(string(key)) == "." || folders[path.Dir(string(key))]
		mu.Unlock()
		switch r.Method {
		case http.MethodPut:
			body, err := io.ReadAll(r.Body)
			if err != nil || int64(len(body)) != r.ContentLength {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if !known {
				w.WriteHeader(http.StatusConflict)
				return
			}
			if r.Header.Get("Content-Type") != key.ContentType() {
				w.WriteHeader(http.StatusUnsupportedMediaType)
				return
			}
			err = tree.Put(r.Context(), key, layout.Bytes(body), layout.PutOptions{IfAbsent: r.Header.Get("If-None-Match") == "*"})
			if errors.Is(err, fs.ErrExist) {
				w.WriteHeader(http.StatusPreconditionFailed)
				return
			}
			w.WriteHeader(http.StatusCreated)
		case "MKCOL":
			mu.Lock()
			defer mu.Unlock()
			folders[strings.TrimSuffix(string(key), "/")] = true
			w.WriteHeader(http.StatusCreated)
		case http.MethodDelete:
			tree.Delete(r.Context(), key)
		default:
			TreeServer(tree)(w, r)
		}
	}
}
