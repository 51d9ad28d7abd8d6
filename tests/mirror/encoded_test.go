//go:build real

package mirror_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/ulikunitz/xz"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/peers"
)

// encoders compress what a bucket keeps with a Content-Encoding.
var encoders = map[string]func(io.Writer) io.WriteCloser{
	"gzip": func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
	"br":   func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
	"zstd": func(w io.Writer) io.WriteCloser {
		z, err := zstd.NewWriter(w)
		if err != nil {
			panic(err)
		}
		return z
	},
	"xz": func(w io.Writer) io.WriteCloser {
		z, err := xz.NewWriter(w)
		if err != nil {
			panic(err)
		}
		return z
	},
}

func encoded(t *testing.T, coding string, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := encoders[coding](&out)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// raw is the store without us.
func (w *world) raw(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(strings.TrimPrefix(w.store.Endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(w.store.AccessKey, w.store.SecretKey, "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// place is where the objects of a URL's tree are.
func place(t *testing.T, location string) (bucket, prefix string) {
	t.Helper()
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host, strings.TrimPrefix(u.Path, "/") + "/"
}

// encode has a bucket keep an object with a Content-Encoding.
func (w *world) encode(t *testing.T, location string, key layout.Key, coding string, text []byte) {
	t.Helper()
	bucket, prefix := place(t, location)
	data := encoded(t, coding, text)
	_, err := w.raw(t).PutObject(t.Context(), bucket, prefix+string(key), bytes.NewReader(data), int64(len(data)),
		minio.PutObjectOptions{ContentType: key.ContentType(), ContentEncoding: coding})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEncodedBuckets: what others keep with a Content-Encoding is read by every
// command as what it is, and is never copied without the header.
func TestEncodedBuckets(t *testing.T) {
	w := newWorld(t)
	dir := treetest.OpenDir(t, w.dir)
	source := treetest.Source(t)
	for key := range treetest.Contents(t, source) { // with a log and realisations
		text, err := layout.ReadAll(t.Context(), source, key)
		if err != nil {
			t.Fatal(err)
		}
		treetest.PutText(t, dir, key, string(text))
	}
	large := layout.Key("log/11111111111111111111111111111111-large.drv")
	treetest.PutText(t, dir, large, strings.Repeat("it was built, and it took its time\n", 100_000))
	app := treetest.Record(t, dir, "app").Path
	for name, codings := range map[string]map[layout.Kind]string{
		"as Nix for Hydra": {layout.KindNarInfo: "gzip", layout.KindListing: "br", layout.KindLog: "br"},
		"as niks3":         {layout.KindNarInfo: "zstd", layout.KindListing: "zstd", layout.KindLog: "zstd", layout.KindRealisation: "zstd"},
		"everything":       {layout.KindNarInfo: "xz", layout.KindCacheInfo: "gzip", layout.KindListing: "gzip", layout.KindLog: "gzip", layout.KindRealisation: "br", layout.KindPage: "gzip", layout.KindDebugInfo: "gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			from, bucket := w.bucket(t)
			w.sync(t, w.dir, from)
			count := 0
			for key := range treetest.Contents(t, dir) {
				if coding := codings[key.Kind()]; coding != "" {
					text, err := layout.ReadAll(t.Context(), dir, key)
					if err != nil {
						t.Fatal(err)
					}
					w.encode(t, from, key, coding, text)
					count++
				}
			}
			if count < 5 {
				t.Fatalf("%d objects are encoded: the test shows nothing", count)
			}
			treetest.Equal(t, dir, bucket)
			w.run(t, "verify", "--deep", from)

			copied := treetest.OpenDir(t, filepath.Join(t.TempDir(), "copied"))
			w.sync(t, from, copied.Path())
			treetest.Equal(t, dir, copied)
			whole(t, copied)
			otherURL, _ := w.bucket(t)
			w.sync(t, from, otherURL)
			w.nowhereEncoded(t, otherURL)
			for _, to := range []string{copied.Path(), otherURL} {
				for range 2 {
					if r := w.sync(t, "--delete", from, to); !strings.Contains(r.Stderr, ": 0 objects copied") {
						t.Errorf("nothing to do: %s", r.Stderr)
					}
				}
			}
			// A log that changed is copied, even if it is kept in as many bytes as before.
			for _, text := range []string{"it was built otherwise\n", "it was built otherwise!"} {
				w.encode(t, from, large, "gzip", []byte(text))
				w.sync(t, from, copied.Path())
				if got, err := layout.ReadAll(t.Context(), copied, large); err != nil || string(got) != text {
					t.Errorf("a changed log: %q, %v", got, err)
				}
			}

			exported := filepath.Join(t.TempDir(), "exported")
			w.run(t, "export", "--from", from, "--no-check-sigs", "--logs", "--to", exported, app.Abs(layout.DefaultStoreDir))
			whole(t, treetest.OpenDir(t, exported))

			served := w.serve(t, from, "--read-only")
			w.readsPlain(t, served, dir, layout.NarInfoKey(app))
			again := treetest.OpenDir(t, filepath.Join(t.TempDir(), "again"))
			w.sync(t, served, again.Path())
			treetest.Equal(t, copied, again)
			if r := w.sync(t, served, again.Path()); !strings.Contains(r.Stderr, ": 0 objects copied") {
				t.Errorf("nothing to do: %s", r.Stderr)
			}
			root := peers.StoreRoot(t)
			peers.Newest(t).Output(t, "nix", "copy", "--no-check-sigs", "--from", served, "--to", root, app.Abs(layout.DefaultStoreDir))
		})
	}
}

// nowhereEncoded finds no Content-Encoding at a tree that we wrote.
func (w *world) nowhereEncoded(t *testing.T, location string) {
	t.Helper()
	bucket, prefix := place(t, location)
	c := w.raw(t)
	for o := range c.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		stat, err := c.StatObject(t.Context(), bucket, o.Key, minio.StatObjectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if coding := stat.Metadata.Get("Content-Encoding"); coding != "" {
			t.Errorf("%s is kept as %s", o.Key, coding)
		}
	}
}

// readsPlain asks a server for an object in the ways of clients.
func (w *world) readsPlain(t *testing.T, served string, dir layout.Tree, key layout.Key) {
	t.Helper()
	text, err := layout.ReadAll(t.Context(), dir, key)
	if err != nil {
		t.Fatal(err)
	}
	etag := ""
	for _, c := range []struct{ method, header, value string }{
		{"GET", "", ""}, {"HEAD", "", ""}, {"GET", "Range", "bytes=10-19"}, {"GET", "If-None-Match", `"other"`}, {"GET", "If-None-Match", "the same"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, strings.TrimSuffix(served, "/")+"/"+string(key), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.value == "the same" {
			c.value = etag
		}
		if c.header != "" {
			req.Header.Set(c.header, c.value)
		}
		req.Header.Set("Accept-Encoding", "identity")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s %s: %v, %v", c.method, c.value, err, resp.Header)
		}
		want := text
		switch {
		case c.method == "HEAD", resp.StatusCode == 304 && c.value == etag:
			want = nil
		case resp.StatusCode == 206 && c.header == "Range":
			want = text[10:20]
		case resp.StatusCode != 200:
			t.Errorf("%s with %s %s: status %d", c.method, c.header, c.value, resp.StatusCode)
		}
		if !bytes.Equal(body, want) {
			t.Errorf("%s with %s %s: %q, want %q", c.method, c.header, c.value, body, want)
		}
		if resp.ContentLength > 0 && c.method == "HEAD" && resp.ContentLength != int64(len(text)) {
			t.Errorf("HEAD: %d bytes, want %d", resp.ContentLength, len(text))
		}
		etag = resp.Header.Get("ETag")
	}
}
