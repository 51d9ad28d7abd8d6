package pages

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Record is what the page knows of a path.
type Record struct {
	Path     layout.StorePath
	NarSize  int64     // bytes
	FileSize int64     // bytes; that of the NAR where the narinfo does not tell
	Time     time.Time // when it came into the tree, in seconds
}

// RecordOf returns the record of a path that came into the tree at a time.
func RecordOf(n *layout.NarInfo, came time.Time) Record {
	// The path is a part of the text of the narinfo, which a page has no use for.
	r := Record{Path: layout.StorePath(strings.Clone(string(n.Path))), NarSize: n.NarSize, FileSize: n.FileSize, Time: came.UTC().Truncate(time.Second)}
	if r.FileSize == 0 {
		r.FileSize = n.NarSize
	}
	return r
}

// hashLen is how many characters the hash of a store path has.
const hashLen = 32

// line is the record's line in the table of hashes: hash, name, bytes of the NAR,
// bytes of its file, seconds since 1970.
func (r Record) line() string {
	b := make([]byte, 0, len(r.Path)+40)
	b = append(append(append(b, r.Path.Hash()...), ' '), r.Path.Name()...)
	for _, n := range []int64{r.NarSize, r.FileSize, r.Time.Unix()} {
		b = strconv.AppendInt(append(b, ' '), n, 10)
	}
	return string(b)
}

func parseLine(line string) (r Record, err error) {
	fields := strings.Split(line, " ")
	if len(fields) != 5 {
		return r, fmt.Errorf("line %.300q: want five fields", line)
	}
	if r.Path, err = layout.ParseStorePath(fields[0] + "-" + fields[1]); err != nil {
		return r, err
	}
	var seconds int64
	for i, n := range []*int64{&r.NarSize, &r.FileSize, &seconds} {
		if *n, err = strconv.ParseInt(fields[2+i], 10, 64); err != nil || *n < 0 {
			return r, fmt.Errorf("line %.300q: %q is no size or time", line, fields[2+i])
		}
	}
	r.Time = time.Unix(seconds, 0).UTC()
	return r, nil
}

// maxWords bounds under how many words a name is found.
const maxWords = 6

// words calls each with where the words begin under which the record is found: its name, and
// each word of it that does not begin with a digit, which is found with the one
// before it, such as a version.
func (r Record) words(each func(begin int)) {
	name := r.Path.Name()
	each(0)
	for i, n := 1, 1; i < len(name) && n < maxWords; i++ {
		if c := name[i]; name[i-1] == '-' && c != '-' && (c < '0' || c > '9') {
			each(i)
			n++
		}
	}
}

// wordLine is the record's line in the table of names for one word: the rest of the name
// from there, what stands before it, and the hash.
func (r Record) wordLine(begin int) string {
	name := r.Path.Name()
	return name[begin:] + " " + name[:begin] + " " + r.Path.Hash()
}
