package nar

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// A Seek is the value of "seek" in a listing: where the parts of the compressed
// file are that can be decompressed by themselves, so that one file can be read
// without the rest of the NAR. docs/listings.md has the format. Neither Nix nor
// nix-index know this key; both pass over it.
type Seek struct {
	// File is the FileHash of the NAR file that has these frames, as narinfos spell
	// it. The record of the path may lead to another one.
	File   string
	Frames []Frame // in the order of the file; fewer than two tell nothing
}

// A Frame is a part of a compressed file that can be decompressed by itself.
type Frame struct {
	Compressed int64 // bytes of the file
	Content    int64 // bytes of the NAR
}

const (
	// MaxFrames is how many frames a Seek can have.
	MaxFrames = 1 << 16
	// maxSeek is the longest text of a Seek: two numbers of 19 digits for each
	// frame. A client that puts blanks between them has to do with fewer.
	maxSeek = MaxFrames*(2*19+4) + 1024
	// maxFile is the longest hash in one.
	maxFile = 256
)

// Total returns the bytes of the file and of the NAR.
func (s *Seek) Total() (file, nar int64) {
	for _, f := range s.Frames {
		file, nar = file+f.Compressed, nar+f.Content
	}
	return file, nar
}

// Agrees reports whether what a listing says can be right, where ours is known to be
// right about that file: it says nothing, or speaks of another file, or says the same.
func (s *Seek) Agrees(ours *Seek, file string) bool {
	if s == nil || s.File != file || len(s.Frames) < 2 {
		return true
	}
	return ours != nil && slices.Equal(s.Frames, ours.Frames)
}

// parseSeek reads the value of "seek".
func parseSeek(text []byte) (*Seek, error) {
	if len(text) > maxSeek {
		return nil, fmt.Errorf(`"seek" has more than %d bytes`, maxSeek)
	}
	var v struct {
		File   *string
		Frames []json.RawMessage
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf(`"seek" cannot be %.40s`, text)
	}
	if v.File == nil || *v.File == "" || len(*v.File) > maxFile || v.Frames == nil {
		return nil, errors.New(`"seek" without file or frames`)
	}
	if len(v.Frames) > MaxFrames {
		return nil, fmt.Errorf("more than %d frames", MaxFrames)
	}
	s := &Seek{File: *v.File, Frames: make([]Frame, 0, len(v.Frames))}
	var file, nar int64
	for _, raw := range v.Frames {
		var pair []uint64
		if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 || pair[0] == 0 ||
			pair[0] > uint64(math.MaxInt64-file) || pair[1] > uint64(math.MaxInt64-nar) {
			return nil, fmt.Errorf("a frame cannot be %.60s", raw)
		}
		f := Frame{Compressed: int64(pair[0]), Content: int64(pair[1])}
		file, nar = file+f.Compressed, nar+f.Content
		s.Frames = append(s.Frames, f)
	}
	return s, nil
}

// append adds the JSON of s to b.
func (s *Seek) append(b []byte) []byte {
	file, _ := json.Marshal(s.File) // a string has JSON
	b = append(b, `{"file":`...)
	b = append(b, file...)
	b = append(b, `,"frames":[`...)
	for i, f := range s.Frames {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '[')
		b = strconv.AppendInt(b, f.Compressed, 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, f.Content, 10)
		b = append(b, ']')
	}
	return append(b, "]}"...)
}
