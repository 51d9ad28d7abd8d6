package main

import (
	"context"
	"fmt"
	"log/slog"
)

// A troubleLog has the status of a queue tell why an attempt takes longer: it is told of the
// requests that are to be made again.
type troubleLog struct{ tell func(why string) }

func (l troubleLog) Enabled(context.Context, slog.Level) bool { return true }
func (l troubleLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l troubleLog) WithGroup(string) slog.Handler            { return l }

func (l troubleLog) Handle(_ context.Context, r slog.Record) error {
	var cause, wait any
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "error":
			cause = a.Value.Any()
		case "wait":
			wait = a.Value.Any()
		}
		return true
	})
	if cause != nil {
		l.tell(fmt.Sprintf("%v; it is asked again in %v", cause, wait))
	}
	return nil
}
