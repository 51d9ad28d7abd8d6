package main

import (
	"errors"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// aboutGC tells what to do about an error of pruning.
func aboutGC(err error, location string) error {
	switch {
	case err == nil, errors.Is(err, errDeclined):
		return err
	case errors.Is(err, gc.ErrNoRoots):
		return withHint(err, "pin what is to stay (nixstatic pin %s NAME PATH…), push or export for a root, or say with --no-pins that only what is young is to; nothing was removed", location)
	case errors.As(err, new(*gc.TooMuchError)):
		return withHint(err, "look at the plan (nixstatic gc -n %s) and at the pins (nixstatic pin list %s), and allow more with --max-removal; nothing was removed", location, location)
	case errors.As(err, new(*gc.RootError)):
		return withHint(err, "push or export the path again, or remove that generation of the pin: nixstatic pin remove %s NAME@N; nothing was removed", location)
	case errors.As(err, new(*gc.OverError)):
		return withHint(err, "raise max-size in the policy, or pin less (nixstatic pin list %s); nothing went because of max-size", location)
	case errors.As(err, new(*gc.MemoryError)):
		return withHint(err, "the store of the cache does not tell that an object has changed, or the file is damaged: remove the file, and if this comes again, do not prune the cache there; nothing was removed")
	case errors.As(err, new(*gc.ClockError)):
		return withHint(err, "set the clocks of this machine and of those that write to the cache: the age of a path decides whether it goes")
	case errors.As(err, new(*gc.RecordedError)):
		return withHint(err, "nixstatic gc undo %s PATH brings it back", location)
	case errors.As(err, new(*gc.MissingPathError)):
		return withHint(err, "check the path; nixstatic gc runs %s lists what was removed", location)
	case errors.Is(err, gc.ErrNothingWithdrawn):
		return withHint(err, "nixstatic gc runs %s tells which runs can be undone", location)
	case errors.Is(err, layout.ErrClosed):
		return withHint(err, "prune the cache that it is a copy of; or, if no sync --delete runs to this one any more, say --open")
	case errors.As(err, new(*gc.UnsettledError)):
		return withHint(err, "run gc again then: it ends that run, and goes on; nothing was removed now")
	case errors.Is(err, gc.ErrOvertaken):
		return withHint(err, "run gc again; from one place at a time")
	case errors.Is(err, gc.ErrNoConditions):
		return withHint(err, "a server that alone writes to the bucket prunes it: nixstatic serve '%s' --gc 03:30; or prune a directory, and mirror it to the bucket", location)
	case errors.Is(err, layout.ErrUnanswered):
		return withHint(err, "run gc again in an hour or two: it waits until nothing of this run can arrive any more, and goes on")
	case errors.Is(err, layout.ErrNoGate):
		return withHint(err, "in a bucket only gc removes: remove the pins of the path (nixstatic gc why %s PATH names them), and it goes when it is old", location)
	}
	return err
}
