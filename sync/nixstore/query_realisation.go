package nixstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
)

// realisation asks the daemon for the realisation of an output: by the hash of
// the derivation, or by its path where that is what the daemon goes by. The
// result is nil if the daemon has none, or cannot be asked for want of the name
// that it goes by.
func (s *Store) realisation(ctx context.Context, drv layout.StorePath, o layout.DrvOutput) (*layout.Realisation, error) {
	s.realised.mu.Lock()
	known, ok := s.realised.byID[o] // o may lack the hash, and is not there then
	deaf := s.realised.deaf
	s.realised.mu.Unlock()
	switch {
	case ok:
		return known, nil
	case deaf != nil:
		return nil, deaf
	}
	var r *layout.Realisation
	err := s.query.use(ctx, func(_ context.Context, c *conn) (err error) {
		switch {
		case c.minor < 31:
			return nil // Nix 2.3, which has no realisations
		case c.pathKeys && drv != "":
			r, err = c.realisationByPath(s.storeDir, drv, o.Output)
		case !c.pathKeys && !o.DrvHash.IsZero():
			r, err = c.realisationByHash(o)
		}
		return err
	})
	if err != nil {
		return nil, s.deafness(ctx, fmt.Errorf("query realisation: %w", err))
	}
	if !o.DrvHash.IsZero() && r != nil {
		s.realised.mu.Lock()
		s.realised.byID[o] = r
		s.realised.mu.Unlock()
	}
	return r, nil
}

// deafness tells a daemon that does not have content-addressed derivations
// enabled from other trouble. Up to Nix 2.26 at least, such a daemon falls over
// the question and takes the connection along. A daemon that says so is named
// too. Neither is asked again: each fall leaves a process less and a core dump
// more.
func (s *Store) deafness(ctx context.Context, err error) error {
	var refusal *daemonError
	says := errors.As(err, &refusal) && strings.Contains(refusal.msg, "ca-derivations")
	if ctx.Err() != nil || !says && !errors.Is(err, errLost) {
		return err
	}
	err = fmt.Errorf("%w; does it have the experimental feature ca-derivations? (%w)", err, errors.ErrUnsupported)
	s.realised.mu.Lock()
	s.realised.deaf = err
	s.realised.mu.Unlock()
	return err
}

// realisationByHash asks a Nix of up to 2.34. It answers with a set of at most one
// realisation, in the form that a binary cache has.
func (c *conn) realisationByHash(o layout.DrvOutput) (*layout.Realisation, error) {
	if err := c.ask(opQueryRealisation, o.String()); err != nil {
		return nil, err
	}
	var texts []string
	for range c.in.count(1, "realisations of one output") {
		texts = append(texts, c.in.text(layout.MaxRealisation))
	}
	if c.in.err != nil || len(texts) == 0 {
		return nil, c.in.err
	}
	r, err := layout.ParseRealisation(layout.RealisationKey(o), []byte(texts[0]))
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// realisationByPath asks a Nix of 2.35 or later, which answers with 0, or with 1
// and the path and its signatures.
func (c *conn) realisationByPath(storeDir string, drv layout.StorePath, output string) (*layout.Realisation, error) {
	if err := c.ask(opQueryRealisation, drv.Abs(storeDir), output); err != nil {
		return nil, err
	}
	if c.in.count(1, "realisations of one output") == 0 {
		return nil, c.in.err
	}
	outPath, sigs := c.in.text(maxText), c.in.texts(maxList, "signatures")
	if c.in.err != nil {
		return nil, c.in.err
	}
	path, err := layout.ParseAbsStorePath(storeDir, outPath)
	if err != nil {
		return nil, err
	}
	return &layout.Realisation{OutPath: path, Output: output, DrvPath: drv, TraceSigs: sigs}, nil
}
