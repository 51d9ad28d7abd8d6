package bundle

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// A File is a part of a bundle, or a whole one.
type File struct {
	Name string // for people
	io.ReaderAt
	Size int64
}

// A Bundle is what some of the parts of one or more bundles hold together: a cache that is
// only read. It is safe for concurrent use.
type Bundle struct {
	StoreDir string
	// Cut are the NARs of which some pieces are in parts that are not here.
	Cut []layout.Key

	parts   []part
	objects map[layout.Key]object
	keys    []layout.Key // sorted
}

// A part is one file.
type part struct {
	File
	head
	members []member
}

// A member is an object in a part, or a piece of one.
type member struct {
	name     string
	at, size int64
}

// An object lies in one place, or in as many as it has pieces.
type object struct {
	where []*io.SectionReader // for ReadAt alone
	size  int64
}

var _ layout.Lister = (*Bundle)(nil)

// Open reads what is in bundles. It refuses all that Write does not write, reads
// the headers and no more: see Check. The error is a *BadError, wraps ErrCut where a
// file lacks its end, or is ErrVersion.
func Open(files ...File) (*Bundle, error) {
	b := &Bundle{objects: map[layout.Key]object{}}
	pieces := map[layout.Key][]placed{}
	total := 0
	for _, file := range files {
		p, err := openPart(file, maxMembers-total)
		if err != nil {
			return nil, about(file, err)
		}
		total += len(p.members)
		if b.StoreDir == "" {
			b.StoreDir = p.StoreDir
		}
		if p.StoreDir != b.StoreDir {
			return nil, &BadError{file.Name, fmt.Sprintf("it is for the store directory %s, and another is for %s", p.StoreDir, b.StoreDir)}
		}
		b.parts = append(b.parts, p)
		for _, m := range p.members {
			where := io.NewSectionReader(file, m.at, m.size)
			if piece, ok := parsePiece(m.name); ok {
				pieces[piece.key] = append(pieces[piece.key], placed{piece, where})
			} else if key := layout.Key(m.name); carried(key.Kind()) {
				if _, taken := b.objects[key]; !taken {
					b.objects[key] = object{[]*io.SectionReader{where}, m.size}
				}
			}
		}
	}
	for key, list := range pieces {
		if o, whole := join(list); whole {
			b.objects[key] = o
		} else if _, whole := b.objects[key]; !whole {
			b.Cut = append(b.Cut, key)
		}
	}
	slices.Sort(b.Cut)
	b.keys = slices.Sorted(maps.Keys(b.objects))
	return b, nil
}

func about(file File, err error) error {
	bad := (*BadError)(nil)
	if errors.As(err, &bad) {
		bad.File = file.Name
		return err
	}
	return fmt.Errorf("%s: %w", file.Name, err)
}

// A placed piece is in a part.
type placed struct {
	piece
	where *io.SectionReader
}

// join puts the pieces of a NAR together. It reports false if some are not there.
func join(pieces []placed) (o object, whole bool) {
	slices.SortFunc(pieces, func(a, b placed) int { return cmp.Compare(a.from, b.from) })
	o.size = pieces[0].whole
	at := int64(0)
	for _, p := range pieces {
		end := p.from + p.where.Size()
		if p.from > at || p.whole != o.size {
			return o, false
		}
		if end > at { // others may be there twice
			o.where = append(o.where, io.NewSectionReader(p.where, at-p.from, end-at))
			at = end
		}
	}
	return o, at == o.size
}

// A cursor reads a file from where it is, and knows where that is.
type cursor struct {
	file File
	at   int64
}

func (c *cursor) Read(p []byte) (int, error) {
	n, err := io.NewSectionReader(c.file, 0, c.file.Size).ReadAt(p, c.at)
	c.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (c *cursor) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.file.Size
	}
	if offset < 0 {
		return 0, fs.ErrInvalid
	}
	c.at = offset
	return offset, nil
}

// openPart reads the headers of a part.
func openPart(file File, most int) (p part, err error) {
	p.File = file
	at := &cursor{file: file}
	r := tar.NewReader(at)
	names := map[string]bool{}
	for {
		h, err := r.Next()
		last := ""
		if len(p.members) > 0 {
			last = p.members[len(p.members)-1].name
		}
		switch {
		case err == io.EOF && last == sumsName:
			return p, nil
		case err == io.EOF && last == "":
			return p, &BadError{Msg: "not a bundle"}
		case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
			return p, fmt.Errorf("%w", ErrCut)
		case errors.Is(err, tar.ErrHeader) && last == "":
			return p, &BadError{Msg: "not a bundle"}
		case err != nil:
			return p, &BadError{Msg: "damaged behind " + quoted(last) + ": " + err.Error()}
		case last == sumsName:
			return p, &BadError{Msg: "something follows the end"}
		case len(p.members) == most:
			return p, &BadError{Msg: fmt.Sprintf("more than %d members", maxMembers)}
		}
		if err := checkMember(h, last == ""); err != nil {
			return p, err
		}
		if names[h.Name] {
			return p, &BadError{Msg: quoted(h.Name) + " is there twice"}
		}
		names[h.Name] = true
		if at.at+h.Size > file.Size || at.at+h.Size < at.at {
			return p, fmt.Errorf("%w", ErrCut)
		}
		p.members = append(p.members, member{h.Name, at.at, h.Size})
		if last == "" {
			text := make([]byte, h.Size)
			if _, err := file.ReadAt(text, at.at); err != nil && err != io.EOF {
				return p, err
			}
			if p.head, err = parseHead(text); err != nil {
				return p, err
			}
		}
	}
}

// quoted is a name from outside as it may be shown.
func quoted(name string) string { return fmt.Sprintf("%.100q", name) }

// checkMember refuses a member that a Write does not write.
func checkMember(h *tar.Header, first bool) error {
	if h.Typeflag != tar.TypeReg || h.Size < 0 {
		return &BadError{Msg: quoted(h.Name) + " is not a file"}
	}
	for field := range h.PAXRecords {
		if field != "path" && field != "size" {
			return &BadError{Msg: fmt.Sprintf("%s has the attribute %.40q", quoted(h.Name), field)}
		}
	}
	if first != (h.Name == headName) {
		if first {
			return &BadError{Msg: "not a bundle: it does not begin with " + headName}
		}
		return &BadError{Msg: quoted(h.Name) + " is there twice"}
	}
	most := int64(maxHead)
	switch piece, isPiece := parsePiece(h.Name); {
	case first:
	case h.Name == sumsName:
		most = maxMembers * (2*sha256.Size + 3 + 1024)
	case isPiece:
		if key, err := layout.ParseKey(string(piece.key)); err != nil || key.Kind() != layout.KindNAR {
			return &BadError{Msg: quoted(h.Name) + " is nothing of a bundle"}
		}
		most = piece.whole - piece.from
	default:
		key, err := layout.ParseKey(h.Name)
		if err != nil || !carried(key.Kind()) {
			return &BadError{Msg: quoted(h.Name) + " is nothing of a bundle"}
		}
		most = key.Kind().MaxBytes()
	}
	if h.Size > most {
		return &BadError{Msg: fmt.Sprintf("%s has %d bytes, and may have %d", quoted(h.Name), h.Size, most)}
	}
	return nil
}

// Get opens an object.
func (b *Bundle) Get(_ context.Context, key layout.Key) (io.ReadCloser, layout.Info, error) {
	o, ok := b.objects[key]
	if !ok {
		return nil, layout.Info{}, fmt.Errorf("read %s: %w", key, fs.ErrNotExist)
	}
	readers := make([]io.Reader, len(o.where))
	for i, where := range o.where {
		readers[i] = io.NewSectionReader(where, 0, where.Size())
	}
	return io.NopCloser(io.MultiReader(readers...)), layout.Info{Key: key, Size: o.size}, nil
}

// Stat describes an object.
func (b *Bundle) Stat(_ context.Context, key layout.Key) (layout.Info, error) {
	o, ok := b.objects[key]
	if !ok {
		return layout.Info{}, fmt.Errorf("look for %s: %w", key, fs.ErrNotExist)
	}
	return layout.Info{Key: key, Size: o.size}, nil
}

// List yields the objects.
func (b *Bundle) List(ctx context.Context, prefix string) iter.Seq2[layout.Info, error] {
	return func(yield func(layout.Info, error) bool) {
		at, _ := slices.BinarySearch(b.keys, layout.Key(prefix))
		for _, key := range b.keys[at:] {
			if !strings.HasPrefix(string(key), prefix) {
				return
			}
			if err := ctx.Err(); err != nil {
				yield(layout.Info{}, err)
				return
			}
			if !yield(layout.Info{Key: key, Size: b.objects[key].size}, nil) {
				return
			}
		}
	}
}
