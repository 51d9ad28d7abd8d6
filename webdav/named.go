package webdav

import (
	"bytes"
	"context"
	"io"

	"github.com/nixstatic/nixstatic/layout"
)

// named is a tree whose records name their paths in the URLs of their NARs, as those of a
// Through do.
type named struct{ tree layout.Reader }

const (
	// namedHead is how much of a record is looked at: the URL is on its second line.
	namedHead = 2 << 10
	// namedMark is behind the ETag of a record that may have another URL than in the tree.
	namedMark = "-of"
)

// Get opens a record.
func (n named) Get(ctx context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	body, info, err := n.tree.Get(ctx, key)
	if err != nil || key.Kind() != layout.KindNarInfo {
		return body, info, err
	}
	head := make([]byte, namedHead)
	read, err := io.ReadFull(body, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		body.Close()
		return nil, info, err
	}
	head = nameURL(head[:read], key.PathHash())
	if info.Size >= 0 {
		info.Size += int64(len(head) - read)
	}
	return &namedBody{io.MultiReader(bytes.NewReader(head), body), body}, mark(info), nil
}

// Stat describes a record, but for its size.
func (n named) Stat(ctx context.Context, key layout.Key) (layout.Info, error) {
	info, err := n.tree.Stat(ctx, key)
	if err == nil && key.Kind() == layout.KindNarInfo {
		info = mark(info)
		info.Size = -1
	}
	return info, err
}

func mark(info layout.Info) layout.Info {
	if info.ETag != "" {
		info.ETag += namedMark
	}
	return info
}

type namedBody struct {
	io.Reader
	io.Closer
}

// nameURL names the path with this hash in the URL of a record of which this is the
// beginning. A URL that leads out of the tree, or has a query already, stays as it is.
func nameURL(head []byte, hash string) []byte {
	const field = "\nURL: "
	start := bytes.Index(head, []byte(field))
	if start < 0 {
		return head
	}
	start += len(field)
	length := bytes.IndexByte(head[start:], '\n')
	if length < 0 {
		return head
	}
	url := bytes.TrimRight(head[start:start+length], "\r")
	if !bytes.HasPrefix(url, []byte(layout.NARFolder)) || bytes.ContainsAny(url, "?# ") {
		return head
	}
	end := start + len(url)
	out := make([]byte, 0, len(head)+1+len(ThroughQuery)+len(hash))
	out = append(out, head[:end]...)
	out = append(out, "?"+ThroughQuery+hash...)
	return append(out, head[end:]...)
}
