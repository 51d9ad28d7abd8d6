package seek

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/compress"
	"github.com/nixstatic/nixstatic/layout/nar"
)

// A Read tells how a file was read.
type Read struct {
	Bytes int64 // of compressed files
	Parts bool  // only the frames that hold the file were read
	// Doubt is why the listing, or the frames in it, were not believed, and the NAR was
	// read from its start.
	Doubt error
}

// WriteFile writes the file at path in the NAR to w. The error is a PathError for what
// is not a file (fs.ErrNotExist, ErrDirectory, ErrNotDirectory), and a LinkError for a
// symbolic link. Unless Whole is set, the bytes are not proved to be those that were
// signed; with Whole they are only after WriteFile has returned.
func (a *Archive) WriteFile(ctx context.Context, w io.Writer, path string) (Read, error) {
	var read Read
	if a.Whole || a.root == nil {
		return read, a.pass(ctx, w, path, &read)
	}
	node, err := Lookup(a.root, path)
	switch {
	case err != nil:
		return read, err
	case node.Type == nar.TypeDirectory:
		return read, pathError(Split(path), ErrDirectory)
	case node.Type == nar.TypeSymlink:
		return read, &LinkError{Path: joined(path), Target: node.Target}
	}
	counted := &counter{w: w}
	s, err := a.span(node, path)
	if err == nil && s.size > 0 {
		if err = a.part(ctx, counted, s, &read); err == nil {
			read.Parts = true
			return read, nil
		}
		if counted.n > 0 || ctx.Err() != nil || errors.As(err, new(*writeError)) {
			return read, err
		}
	}
	read.Doubt = err
	return read, a.pass(ctx, w, path, &read)
}

// A span is where a file is.
type span struct {
	head []byte // what stands in the NAR before the file
	file int64  // bytes of the file

	from, to int64 // of the compressed file
	size     int64 // of the whole compressed file; 0 if it cannot be read in parts
	skip     int64 // bytes of the NAR between from and the head
	method   compress.Method
}

// span finds out where a file of the listing is. The error says that the listing cannot
// be right.
func (a *Archive) span(node *nar.Node, path string) (span, error) {
	names := Split(path)
	name := ""
	if len(names) > 0 {
		name = names[len(names)-1]
	}
	s := span{head: node.Head(name), file: node.Size, method: a.record.Compression}
	begin, end := node.NarOffset-int64(len(s.head)), node.NarOffset+node.Size // which does not overflow
	if begin < 0 || end > a.record.NarSize {
		return s, fmt.Errorf("the listing puts %q at bytes %d to %d of a NAR of %d", joined(path), node.NarOffset, end, a.record.NarSize)
	}
	if s.method == compress.None {
		s.from, s.to, s.size = begin, end, a.record.NarSize
		return s, nil
	}
	var file, content int64 // where a frame begins
	for _, f := range a.frames {
		if content <= begin {
			s.from, s.skip = file, begin-content
		}
		if content < end {
			s.to = file + f.Compressed
		}
		file, content = file+f.Compressed, content+f.Content
	}
	s.size = file
	return s, nil
}

// part reads the frames that hold a file, and writes it to w. Nothing was written if what
// stands before the file is not what the listing says.
func (a *Archive) part(ctx context.Context, w io.Writer, s span, read *Read) error {
	body, err := a.openPart(ctx, s.size, s.from, s.to)
	if err != nil {
		return err
	}
	defer body.Close()
	source := &source{ctx: ctx, r: body}
	defer func() { read.Bytes += source.n }()
	z, err := compress.NewReader(source, s.method)
	if err != nil {
		return err
	}
	defer z.Close()
	fail := func(what string, err error) error {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("read %s from a part of the NAR of %s: %w", what, a.record.Path, err)
	}
	if _, err := io.CopyN(io.Discard, z, s.skip); err != nil {
		return fail("up to the file", err)
	}
	head := make([]byte, len(s.head))
	if _, err := io.ReadFull(z, head); err != nil {
		return fail("what is before the file", err)
	}
	if !bytes.Equal(head, s.head) {
		return fmt.Errorf("the listing of %s is wrong about the file, or about the frames of the NAR", a.record.Path)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(z, s.file), make([]byte, 256<<10))
	if err == nil && n < s.file {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.As(err, new(*writeError)) {
		return fail("the file", err)
	}
	return err
}

// A counter tells errors of its writer from those of what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

// Root returns the listing of the NAR. Without one the whole NAR is read, and must be
// what the record says.
func (a *Archive) Root(ctx context.Context) (*nar.Node, error) {
	if a.root != nil {
		return a.root, nil
	}
	body, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	found, err := layout.Inspect(ctx, &limited{body, fileBound(a.record)}, a.record.Compression, "", &layout.PathInfo{NarSize: a.record.NarSize})
	if err != nil {
		return nil, err
	}
	defer found.Close()
	switch {
	case found.Broken != nil:
		return nil, fmt.Errorf("read the NAR of %s: %w", a.record.Path, found.Broken)
	case found.TooLong:
		return nil, fmt.Errorf("the NAR of %s has more than the %d bytes of its narinfo", a.record.Path, a.record.NarSize)
	case found.NarHash != a.record.NarHash:
		return nil, &layout.HashMismatch{What: "NAR", Got: found.NarHash, Want: a.record.NarHash}
	}
	root, err := nar.ParseListing(io.NewSectionReader(found.Listing, 0, found.Listing.Size()), layout.KindListing.MaxBytes())
	if err != nil {
		return nil, err
	}
	a.root = root
	return root, nil
}
