package nixstore

import (
	"context"
	"errors"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// BuildDeps returns what is in the store of all that paths were built from: the sources
// and the outputs of the derivations that their derivers lead to. Unknown counts the
// paths whose deriver is not in the store.
func (s *Store) BuildDeps(ctx context.Context, paths []layout.StorePath) (deps []layout.StorePath, unknown int, err error) {
	infos, err := s.Infos(ctx, paths)
	if err != nil {
		return nil, 0, err
	}
	seen := map[layout.StorePath]bool{}
	var level []layout.StorePath
	for _, info := range infos {
		have, err := s.valid(ctx, info.Deriver)
		if err != nil {
			return nil, 0, err
		}
		if have == nil {
			unknown++
		} else if !seen[info.Deriver] {
			seen[info.Deriver] = true
			level = append(level, info.Deriver)
		}
	}
	// The references of a derivation are its sources and the derivations that it needs.
	for len(level) > 0 {
		infos, err := s.Infos(ctx, level)
		if err != nil {
			return nil, 0, err
		}
		level = nil
		for _, info := range infos {
			outputs, err := s.builtOutputs(ctx, info.Path)
			if err != nil {
				return nil, 0, err
			}
			for _, p := range append(outputs, info.References...) {
				switch {
				case seen[p]:
				case p.IsDerivation():
					level = append(level, p)
				default:
					deps = append(deps, p)
				}
				seen[p] = true
			}
		}
	}
	return deps, unknown, nil
}

// builtOutputs returns the outputs of a derivation that are in the store.
func (s *Store) builtOutputs(ctx context.Context, drv layout.StorePath) (built []layout.StorePath, err error) {
	outputs, err := s.outputs(ctx, drv)
	if err != nil {
		return nil, err
	}
	for _, text := range outputs {
		if text == "" {
			continue
		}
		p, err := layout.ParseAbsStorePath(s.storeDir, text)
		if err != nil {
			return nil, err
		}
		have, err := s.valid(ctx, p)
		if err != nil {
			return nil, err
		}
		if have != nil {
			built = append(built, p)
		}
	}
	return built, nil
}

// valid returns the record of a path, nil if it is not in the store.
func (s *Store) valid(ctx context.Context, p layout.StorePath) (*layout.PathInfo, error) {
	if p == "" {
		return nil, nil
	}
	infos, err := s.Infos(ctx, []layout.StorePath{p})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &infos[0], nil
}
