package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/webdav"
)

// A pinner pins paths of a tree for clients of its server.
type pinner struct{ tree layout.Tree }

// Pin gives a pin a new generation.
func (p pinner) Pin(ctx context.Context, name string, paths []layout.StorePath) error {
	_, err := gc.Set(ctx, p.tree, gc.PinChange{Name: name, Paths: paths, Note: "pushed"})
	missing := (*gc.MissingPathError)(nil)
	switch {
	case errors.As(err, &missing):
		return &webdav.PinError{Msg: fmt.Sprintf("%s is not in this cache, and cannot be pinned: push it first", missing.Path)}
	case errors.Is(err, gc.ErrTooManyGenerations):
		return &webdav.PinError{Msg: "the pin has too many generations: its operator has to say how many are to stay, with nixstatic pin --keep-last"}
	case layout.CheckPinName(name) != nil:
		return &webdav.PinError{Msg: layout.CheckPinName(name).Error()}
	}
	return err
}
