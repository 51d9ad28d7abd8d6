package gc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A narinfo is written down with its text before it is withdrawn, so that it can
// be brought back as long as its NAR is there:
//
//	.nixstatic/gc/withdrawn/<epoch>/<part>   a Withdrawn on each line
const (
	// partBytes is how long a part may become before the next one begins.
	partBytes = 4 << 20
	// maxPart bounds a part that is read.
	maxPart = 64 << 20
)

// A Withdrawn is a narinfo or a realisation that was removed.
type Withdrawn struct {
	Key  layout.Key `json:"key"`
	Text string     `json:"text"`
}

// A Record is a part of what one run withdrew.
type Record struct {
	Key   layout.Key // of the record itself
	Epoch int64
	Time  time.Time
}

func recordKey(epoch int64, part int) layout.Key {
	return layout.Key(fmt.Sprintf("%s%08d/%04d", layout.WithdrawnPrefix, epoch, part))
}

// Records lists what was withdrawn and can still be told, the oldest first.
func Records(ctx context.Context, t layout.Lister) ([]Record, error) {
	var records []Record
	for info, err := range t.List(ctx, layout.WithdrawnPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list what was withdrawn: %w", err)
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(string(info.Key), layout.WithdrawnPrefix), "/")
		epoch, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue
		}
		records = append(records, Record{info.Key, epoch, info.ModTime})
	}
	return records, nil
}

// Read yields what a record holds. An error ends it: what it would have told is
// not known.
func (r Record) Read(ctx context.Context, t layout.Reader) iter.Seq2[Withdrawn, error] {
	return func(yield func(Withdrawn, error) bool) {
		body, _, err := t.Get(ctx, r.Key)
		if errors.Is(err, fs.ErrNotExist) {
			return // its time was over
		}
		if err != nil {
			yield(Withdrawn{}, err)
			return
		}
		defer body.Close()
		for w, err := range readWithdrawn(body) {
			if err != nil {
				err = fmt.Errorf("read %s: %w", r.Key, err)
			}
			if !yield(w, err) {
				return
			}
		}
	}
}

func readWithdrawn(body io.Reader) iter.Seq2[Withdrawn, error] {
	return func(yield func(Withdrawn, error) bool) {
		lines := bufio.NewScanner(io.LimitReader(body, maxPart))
		lines.Buffer(nil, maxPart)
		for lines.Scan() {
			var w Withdrawn
			err := json.Unmarshal(lines.Bytes(), &w)
			if err == nil {
				kind := w.Key.Kind()
				if _, wrong := layout.ParseKey(string(w.Key)); wrong != nil || kind != layout.KindNarInfo && kind != layout.KindRealisation {
					err = fmt.Errorf("%.100q is neither a narinfo nor a realisation", w.Key)
				}
			}
			if !yield(w, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Withdrawn{}, err)
		}
	}
}

// record writes down what is about to go, in parts from a number on. It returns
// the number of the next part.
func record(ctx context.Context, t layout.Tree, epoch int64, part int, list []Withdrawn) (int, error) {
	var text bytes.Buffer
	flush := func() error {
		if text.Len() == 0 {
			return nil
		}
		err := t.Put(ctx, recordKey(epoch, part), layout.Bytes(bytes.Clone(text.Bytes())), layout.PutOptions{IfAbsent: true})
		part++
		text.Reset()
		return err
	}
	for _, w := range list {
		line, err := json.Marshal(w)
		if err != nil {
			return part, err
		}
		if text.Len()+len(line) > partBytes {
			if err := flush(); err != nil {
				return part, err
			}
		}
		text.Write(append(line, '\n'))
	}
	return part, flush()
}
