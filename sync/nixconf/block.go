package nixconf

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

const (
	beginMark = "# begin nixstatic "
	endMark   = "# end nixstatic "
)

// Notes in the first line of a block. They tell what its removal has to undo.
const (
	noteOpen = " (the line before had no end)"
	noteNew  = " (the file was not there before)"
)

// A Place is where a new block goes.
type Place int

const (
	AtEnd   Place = iota // nix.conf: the last line counts
	AtStart              // netrc: the first entry counts
)

// A BlockError says why the blocks of a file cannot be told.
type BlockError struct {
	Line int // the first is 1
	Why  string
}

func (e *BlockError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// A block is where a marked block is in a text.
type block struct {
	start, end  int // offsets, the lines of the marks included
	open, fresh bool
	body        string
}

// findBlock finds the block called name.
func findBlock(text []byte, name string) (found *block, err error) {
	var current *block
	var lines []string
	number, offset, began := 0, 0, 0
	for line := range bytes.Lines(text) {
		number++
		start := offset
		offset += len(line)
		word := strings.TrimRight(string(line), "\r\n")
		begins, notes := isMark(word, beginMark, name)
		ends, _ := isMark(word, endMark, name)
		switch {
		case begins && (current != nil || found != nil):
			return nil, &BlockError{number, "a second block begins for " + name}
		case begins:
			current, began, lines = &block{start: start, open: strings.Contains(notes, noteOpen), fresh: strings.Contains(notes, noteNew)}, number, nil
		case ends && current == nil:
			return nil, &BlockError{number, "a block for " + name + " ends that never began"}
		case ends:
			current.end, current.body = offset, strings.Join(lines, "\n")
			found, current = current, nil
		case current != nil && (strings.HasPrefix(word, beginMark) || strings.HasPrefix(word, endMark)):
			return nil, &BlockError{began, "the block for " + name + " does not end"}
		case current != nil:
			lines = append(lines, word)
		}
	}
	if current != nil {
		return nil, &BlockError{began, "the block for " + name + " does not end"}
	}
	return found, nil
}

func isMark(line, mark, name string) (is bool, notes string) {
	notes, is = strings.CutPrefix(line, mark+name)
	return is && (notes == "" || strings.HasPrefix(notes, " (")), notes
}

// Block returns the lines of the block called name, and whether there is one.
func Block(text []byte, name string) (lines []string, ok bool, err error) {
	b, err := findBlock(text, name)
	if b == nil || err != nil {
		return nil, false, err
	}
	return strings.Split(b.body, "\n"), true, nil
}

// SetBlock returns text with a block called name that holds the lines. A block
// that is there is replaced where it is; a new one goes to the place. A nil text is
// a file that does not exist.
func SetBlock(text []byte, name string, lines []string, at Place) ([]byte, error) {
	if err := checkBlock(name, lines); err != nil {
		return nil, err
	}
	b, err := findBlock(text, name)
	if err != nil {
		return nil, err
	}
	if b == nil {
		b = &block{fresh: text == nil}
		if at == AtEnd {
			b.start, b.end = len(text), len(text)
			b.open = len(text) > 0 && text[len(text)-1] != '\n'
			if b.open {
				text = append(bytes.Clone(text), '\n')
				b.start++
				b.end++
			}
		}
	}
	var out bytes.Buffer
	out.Write(text[:b.start])
	out.WriteString(beginMark + name)
	if b.open {
		out.WriteString(noteOpen)
	}
	if b.fresh {
		out.WriteString(noteNew)
	}
	out.WriteByte('\n')
	for _, line := range lines {
		out.WriteString(line + "\n")
	}
	out.WriteString(endMark + name + "\n")
	out.Write(text[b.end:])
	return out.Bytes(), nil
}

// RemoveBlock returns text without the block called name, and whether there was
// one. Its traces around it are undone; if another block stands in
// the way, that one inherits the task. A nil result is a file that did not exist.
func RemoveBlock(text []byte, name string) (left []byte, ok bool, err error) {
	b, err := findBlock(text, name)
	if b == nil || err != nil {
		return text, false, err
	}
	before, after := text[:b.start], text[b.end:]
	if b.open {
		if len(after) == 0 {
			before = bytes.TrimSuffix(before, []byte("\n"))
		} else {
			after = inherit(after, noteOpen)
		}
	}
	if b.fresh {
		switch {
		case len(before)+len(after) == 0:
			return nil, true, nil
		case bytes.HasPrefix(before, []byte(beginMark)):
			before = inherit(before, noteNew)
		default:
			after = inherit(after, noteNew)
		}
	}
	return append(bytes.Clone(before), after...), true, nil
}

// inherit gives a note to the block that text begins with, if it does.
func inherit(text []byte, note string) []byte {
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if !bytes.HasPrefix(line, []byte(beginMark)) || bytes.Contains(line, []byte(note)) {
		return text
	}
	// The order of the notes is that of SetBlock.
	had := string(line)
	fresh := strings.HasSuffix(had, noteNew)
	had = strings.TrimSuffix(had, noteNew) + note
	if fresh {
		had += noteNew
	}
	return append([]byte(had+"\n"), rest...)
}

// checkBlock refuses what would not be found again.
func checkBlock(name string, lines []string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n#") {
		return fmt.Errorf("name of a block %q: has a blank or a #", name)
	}
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") || strings.HasPrefix(line, beginMark) || strings.HasPrefix(line, endMark) {
			return errors.New("a line of a block has a line break, or is a mark")
		}
	}
	return nil
}
