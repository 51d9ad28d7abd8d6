package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/watch"
)

// syncOutput words what a mirror does: as lines of JSON, or for people, who are
// told of what is not as it should be and of the outcome.
type syncOutput struct {
	c        *cli.Context
	progress *mirror.Progress
	watching bool
	meter    *meter
	purge    *purger

	mu   sync.Mutex
	json *json.Encoder // nil for people
	told int64         // objects copied or deleted that an outcome told of
}

// syncEvent is a line of --json.
type syncEvent struct {
	// Event is copy, replace, delete, withhold, keep, note; plan for --dry-run;
	// attempt of --watch; done at the end.
	Version int           `json:"version"`
	Event   string        `json:"event"`
	Action  mirror.Action `json:"action,omitempty"` // of a plan
	Key     layout.Key    `json:"key,omitempty"`
	Bytes   int64         `json:"bytes,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Copied  *int64        `json:"copied,omitempty"` // objects so far, with attempt and done
	Deleted *int64        `json:"deleted,omitempty"`
	Seconds float64       `json:"seconds,omitempty"`
	Retry   float64       `json:"retrySeconds,omitempty"`
}

func newSyncOutput(c *cli.Context, m *mirror.Mirror) *syncOutput {
	o := &syncOutput{c: c, progress: m.Progress, watching: c.Bool("watch")}
	if c.Bool("json") {
		o.json = json.NewEncoder(c.App.Writer)
		o.json.SetEscapeHTML(false)
	}
	m.Report = o.event
	return o
}

func (o *syncOutput) print(e syncEvent) error {
	e.Version = jsonVersion
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.json.Encode(e)
}

// event is for Mirror.Report.
func (o *syncOutput) event(e mirror.Event) {
	if e.Action == mirror.ActionReplace || e.Action == mirror.ActionDelete {
		o.purge.add(e.Key)
	}
	if o.json != nil {
		o.meter.above(func() {
			o.print(syncEvent{Event: string(e.Action), Key: e.Key, Bytes: e.Size, Reason: e.Why})
		})
		return
	}
	if o.c.Bool("quiet") {
		return
	}
	if o.c.Bool("verbose") {
		o.meter.above(func() { say(o.c, "%s %s", e.Action, e.Key) })
	}
	switch e.Action {
	case mirror.ActionKeep:
		o.meter.above(func() { say(o.c, "not deleted: %s: %s", e.Key, printable(e.Why)) })
	case mirror.ActionNote:
		o.meter.above(func() { say(o.c, "note: %s", printable(e.Why)) })
	case mirror.ActionWithhold:
		if o.watching { // else the error at the end tells
			say(o.c, "left out: %s: %s", e.Key, printable(e.Why))
		}
	}
}

// planned prints a change of a --dry-run.
func (o *syncOutput) planned(change mirror.Change) error {
	if o.json != nil {
		return o.print(syncEvent{Event: "plan", Action: change.Action, Key: change.Key, Bytes: change.Size})
	}
	_, err := fmt.Fprintf(o.c.App.Writer, "%-7s %s (%s)\n", change.Action, change.Key, bytesize(max(0, change.Size)))
	return err
}

// line is the line of progress.
func (o *syncOutput) line(elapsed time.Duration) string {
	p := o.progress
	switch {
	case p.Waiting.Load() != nil:
		return "sync: " + printable(p.Waiting.Load().String())
	case p.Deleted.Load() > 0:
		return fmt.Sprintf("sync: %d of %s deleted", p.Deleted.Load(), plural(p.Extra.Load(), "object"))
	case p.ObjectsDone.Load() > 0 || p.BytesDone.Load() > 0:
		return o.amount(elapsed)
	}
	return fmt.Sprintf("sync: %s compared", plural(p.Listed.Load(), "object"))
}

// objectCost is what an object takes beside its bytes, in the bytes that could
// be sent meanwhile: a guess that makes the time left come true for many small
// objects as well as for few large ones.
const objectCost = 32 << 10

func (o *syncOutput) amount(elapsed time.Duration) string {
	p := o.progress
	objects, bytes := p.Objects.Load(), p.Bytes.Load()
	objectsDone, bytesDone := min(p.ObjectsDone.Load(), objects), min(p.BytesDone.Load(), bytes)
	text := fmt.Sprintf("sync: %d of %s, %s of %s, %s/s", objectsDone, plural(objects, "object"), bytesize(bytesDone), bytesize(bytes),
		bytesize(int64(float64(bytesDone)/max(elapsed.Seconds(), 0.001))))
	done, all := float64(bytesDone+objectsDone*objectCost), float64(bytes+objects*objectCost)
	if done < all && elapsed > time.Second {
		left := time.Duration((all - done) / done * float64(elapsed))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

// done reports the end of a run.
func (o *syncOutput) done(took time.Duration, err error) {
	copied, deleted := o.progress.ObjectsDone.Load(), o.progress.Deleted.Load()
	if o.json != nil {
		e := syncEvent{Event: "done", Bytes: o.progress.BytesDone.Load(), Copied: &copied, Deleted: &deleted, Seconds: took.Seconds()}
		if err != nil {
			e.Reason = err.Error()
		}
		o.print(e)
		return
	}
	if err == nil && !o.c.Bool("quiet") {
		say(o.c, "%s copied (%s), %d deleted, in %s", plural(copied, "object"), bytesize(o.progress.BytesDone.Load()),
			deleted, took.Round(10*time.Millisecond))
	}
}

// outcome is for Watch.Report.
func (o *syncOutput) outcome(w watch.Outcome) {
	if err := o.purge.run(o.c.Context); err != nil {
		say(o.c, "%s", printable(err.Error()))
	}
	copied, deleted := o.progress.ObjectsDone.Load(), o.progress.Deleted.Load()
	reason := ""
	if w.Err != nil {
		reason = w.Err.Error()
	}
	if o.json != nil {
		o.print(syncEvent{Event: "attempt", Reason: reason, Copied: &copied, Deleted: &deleted,
			Bytes: o.progress.BytesDone.Load(), Seconds: w.Took.Seconds(), Retry: w.Retry.Seconds()})
		return
	}
	switch {
	case w.Err != nil && w.Retry > 0:
		say(o.c, "%s; trying again in %s", printable(reason), w.Retry)
	case w.Err != nil:
		say(o.c, "%s", printable(reason))
	case copied+deleted > o.told && !o.c.Bool("quiet"):
		say(o.c, "current: %s copied (%s), %d deleted so far", plural(copied, "object"), bytesize(o.progress.BytesDone.Load()), deleted)
	}
	o.told = copied + deleted
}

// stateFile is where it is remembered what is equal in two trees; "" where there is
// no place for such things.
func stateFile(from, to string) string { return cacheFile("sync", from+"\x00"+to) }

// cacheFile is where this user's runs remember what is costly to find out again, of
// one kind, about one thing; "" where there is no place for that.
func cacheFile(kind, about string) string {
	dir := os.Getenv("CACHE_DIRECTORY") // a service of systemd has this one
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(cache, "nixstatic")
	}
	sum := sha256.Sum256([]byte(about))
	return filepath.Join(dir, kind, hex.EncodeToString(sum[:16]))
}
