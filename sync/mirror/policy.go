package mirror

import (
	"bytes"
	"context"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// carryPolicy brings the rules by which paths stay to the destination, so that a
// tree that is restored from its mirror is pruned as before. A destination that has
// rules keeps them, unless it is to have nothing of its own. A web server gives and
// takes nothing private. Between two buckets it is not looked for: that would be a
// request for every run, and most have nothing else to do.
func (r *run) carryPolicy(ctx context.Context) error {
	m := r.mirror
	source, dest := layout.TraitsOf(m.Source), layout.TraitsOf(m.Dest)
	if r.blind || m.Kinds != nil || source.Encoded || !source.Local && !dest.Local {
		return nil
	}
	text, err := layout.ReadAll(ctx, m.Source, layout.PolicyKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	have, err := layout.ReadAll(ctx, m.Dest, layout.PolicyKey)
	there := err == nil
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return &destError{err}
	case there && (!m.Delete || bytes.Equal(have, text)):
		return nil
	}
	err = m.Dest.Put(ctx, layout.PolicyKey, layout.Bytes(text), layout.PutOptions{IfAbsent: !there})
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return &destError{err}
	}
	action := ActionCopy
	if there {
		action = ActionReplace
	}
	r.report.event(Event{Action: action, Key: layout.PolicyKey})
	return nil
}
