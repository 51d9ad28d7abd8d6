package seek_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/seek"
)

func TestRecord(t *testing.T) {
	cache, _ := newCache(t, compress.None, archive(t))
	const other = "11111111111111111111111111111111"
	if _, err := seek.Record(t.Context(), cache, other, layout.DefaultStoreDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	text, err := layout.ReadAll(t.Context(), cache, layout.NarInfoKey(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := cache.Put(t.Context(), layout.NarInfoKeyOf(other), layout.Bytes(text), layout.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := seek.Record(t.Context(), cache, other, layout.DefaultStoreDir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the record of another path: %v", err)
	}
}
