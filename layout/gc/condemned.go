package gc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// The object at layout.CondemnedKey is what the last run found dead, and since
// when: an object goes only if it was dead in a run before, some time ago. Uploads
// that began while it was there are spared by that. It is a courtesy: no safety rests
// on it.

// condemnedBytes is the size of an entry: what names a version of an object, and
// the time.
const condemnedBytes = 12

type sentence struct {
	object uint64
	since  uint32
}

// sentenced names a version of an object.
func sentenced(key layout.Key, tags ...uint64) uint64 {
	b := append([]byte(key), 0)
	for _, tag := range tags {
		b = binary.LittleEndian.AppendUint64(b, tag)
	}
	return tagOf(string(b))
}

// A docket is what is dead, sorted by object.
type docket []sentence

func readDocket(ctx context.Context, t layout.Reader) (docket, error) {
	body, _, err := t.Get(ctx, layout.CondemnedKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	d, err := parseDocket(body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", layout.CondemnedKey, err)
	}
	return d, nil
}

// parseDocket reads a docket. Entries that are out of order are dropped: what
// they name is condemned anew.
func parseDocket(body io.Reader) (d docket, err error) {
	r := bufio.NewReader(body)
	var entry [condemnedBytes]byte
	for {
		_, err := io.ReadFull(r, entry[:])
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return d, nil
		}
		if err != nil {
			return nil, err
		}
		s := sentence{binary.LittleEndian.Uint64(entry[:]), binary.LittleEndian.Uint32(entry[8:])}
		if len(d) == 0 || d[len(d)-1].object < s.object {
			d = append(d, s)
		}
	}
}

// since returns when an object was condemned; zero if it was not.
func (d docket) since(object uint64) time.Time {
	i, ok := slices.BinarySearchFunc(d, object, func(s sentence, object uint64) int {
		switch {
		case s.object < object:
			return -1
		case s.object > object:
			return 1
		}
		return 0
	})
	if !ok {
		return time.Time{}
	}
	return time.Unix(int64(d[i].since), 0)
}

func (d docket) body() layout.Body {
	var b bytes.Buffer
	b.Grow(len(d) * condemnedBytes)
	for _, s := range d {
		b.Write(binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, s.object), s.since))
	}
	return layout.Bytes(b.Bytes())
}

// A judge sorts what is dead into what may go now and what has to wait.
type judge struct {
	round  *round // of a bucket: what was condemned, and may go now
	now    time.Time
	grace  time.Duration
	before docket
	after  docket
	// overdue says that something may not go yet only because it was not condemned.
	overdue bool
	first   time.Time // when the first of those that wait may go
}

// due condemns an object and reports whether it may go.
func (j *judge) due(object uint64) bool { return j.dueAfter(object, j.grace) }

// dueAfter does that with another grace.
func (j *judge) dueAfter(object uint64, grace time.Duration) bool {
	since := j.before.since(object)
	if since.IsZero() || since.After(j.now) {
		since = j.now
	}
	j.after = append(j.after, sentence{object, uint32(since.Unix())})
	at := since.Add(grace)
	if grace <= 0 || !at.After(j.now) {
		return j.may(object)
	}
	if j.first.IsZero() || at.Before(j.first) {
		j.first = at
	}
	return false
}

// may reports whether an object may go now, as far as others have to know of it.
func (j *judge) may(object uint64) bool {
	if j.round == nil || j.round.ripe && j.round.slice(object) > 0 {
		return true
	}
	j.overdue = true
	return false
}

// verdict returns the docket of this run, and whether it differs from the last.
func (j *judge) verdict() (docket, bool) {
	slices.SortFunc(j.after, func(a, b sentence) int {
		switch {
		case a.object < b.object:
			return -1
		case a.object > b.object:
			return 1
		}
		return 0
	})
	j.after = slices.CompactFunc(j.after, func(a, b sentence) bool { return a.object == b.object })
	return j.after, !slices.Equal(j.before, j.after)
}
