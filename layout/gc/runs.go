package gc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nixstatic/nixstatic/layout"
)

// A Run is what a run did.
type Run struct {
	Epoch     int64     `json:"epoch"`
	Time      time.Time `json:"time"`
	By        string    `json:"by"`
	Withdrawn Size      `json:"withdrawn"` // paths
	Reclaimed Size      `json:"reclaimed"` // objects
	// Unfinished is how many uploads in parts were removed that had broken off.
	Unfinished int       `json:"unfinishedUploads,omitempty"`
	Kept       int64     `json:"kept"` // paths that were to go and are wanted again
	UndoUntil  time.Time `json:"undoUntil"`
	Seconds    float64   `json:"seconds"`

	// Condemned is how many objects of a bucket were condemned for the next round, and
	// Ripe is from when on a run removes those that are dead still.
	Condemned int64     `json:"condemned,omitempty"`
	Ripe      time.Time `json:"ripe,omitzero"`
}

// maxRuns is how many runs are told of.
const maxRuns = 1000

// finish writes down what was done, if anything was.
func (s *sweep) finish(ctx context.Context) (Run, error) {
	if s.withdrew.Count+s.reclaimed.Count == 0 {
		return Run{Unfinished: s.unfinished}, nil
	}
	run := Run{Epoch: s.state.Epoch, Time: s.v.now.UTC(), By: process(), Withdrawn: s.withdrew, Reclaimed: s.reclaimed, Unfinished: s.unfinished,
		Kept: s.kept, UndoUntil: s.Undo.UTC(), Seconds: time.Since(s.begun).Seconds()}
	return run, note(ctx, s.v.tree, run)
}

// note writes down what a run did, and forgets the runs of long ago.
func note(ctx context.Context, t layout.Tree, run Run) error {
	text, err := encode(run)
	if err != nil {
		return err
	}
	key := layout.Key(fmt.Sprintf("%s%08d", layout.RunsPrefix, run.Epoch))
	if err := t.Put(ctx, key, layout.Bytes(text), layout.PutOptions{}); err != nil {
		return err
	}
	var keys []layout.Key
	for info, err := range t.List(ctx, layout.RunsPrefix) {
		if err != nil {
			return err
		}
		keys = append(keys, info.Key)
	}
	if len(keys) <= maxRuns {
		return nil
	}
	return layout.DeleteBatch(ctx, t, keys[:len(keys)-maxRuns])
}

// Runs returns what runs did that removed something, the newest first.
func Runs(ctx context.Context, t layout.Lister) ([]Run, error) {
	var runs []Run
	for info, err := range t.List(ctx, layout.RunsPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the runs: %w", err)
		}
		text, err := layout.ReadAll(ctx, t, info.Key)
		if err != nil {
			return nil, err
		}
		var run Run
		if err := json.Unmarshal(text, &run); err != nil {
			return nil, fmt.Errorf("read %s: %w", strings.TrimPrefix(string(info.Key), layout.PrivatePrefix), err)
		}
		runs = append([]Run{run}, runs...)
	}
	return runs, nil
}
