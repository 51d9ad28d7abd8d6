package nixstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// realised is what a Store has found out about derivations. It is filled by the
// first question and not brought up to date.
type realised struct {
	modulo modulo

	mu     sync.Mutex
	byName map[string][]layout.StorePath     // valid derivations by name, without ".drv"; nil until asked
	open   map[layout.StorePath][]openOutput // outputs without a path, of the derivations looked at
	byID   map[layout.DrvOutput]*layout.Realisation
	deaf   error // why the daemon is not asked any more
}

// An openOutput is an output whose path the derivation does not tell.
type openOutput struct {
	layout.DrvOutput      // the hash is zero if it has none, see unknowable
	resolved         bool // the derivation has no input derivations
}

// Realisations returns the realisations that lead to a path, and those that they
// depend on, in the order of their keys. They exist where content-addressed
// derivations are in play, and most paths have none.
//
// Nix cannot be asked which they are. The derivations whose name fits the path's
// are looked at, the unresolved ones too, which are those that clients ask for;
// one that is no longer in the store, or whose input derivations are not, is
// passed over. If something is wrong with one derivation, the others'
// realisations are returned along with the error. A daemon that does not know of
// content-addressed derivations is errors.ErrUnsupported; it is asked only if
// the store has a derivation in question.
func (s *Store) Realisations(ctx context.Context, info layout.PathInfo) ([]layout.Realisation, error) {
	candidates, err := s.derivations(ctx, info.Path.Name())
	if err != nil {
		return nil, fmt.Errorf("find realisations of %s: %w", info.Path, err)
	}
	found := map[string]layout.Realisation{}
	var errs []error
	for _, c := range candidates {
		if err := s.realisationsOf(ctx, c, info.Path, found); err != nil {
			errs = append(errs, fmt.Errorf("find realisations of %s: %s: %w", info.Path, c.drv, err))
			if ctx.Err() != nil || s.isDeaf() {
				break // the others would fare no better
			}
		}
	}
	var list []layout.Realisation
	for _, key := range slices.Sorted(maps.Keys(found)) {
		r := found[key]
		// The caller's to change, and not what is remembered.
		r.Sigs, r.Dependents = slices.Clone(r.Sigs), maps.Clone(r.Dependents)
		list = append(list, r)
	}
	return list, errors.Join(errs...)
}

// A candidate is a derivation with the name of the output that would be called like
// the path in question.
type candidate struct {
	drv    layout.StorePath
	output string
}

// derivations returns the derivations whose outputs can have that name: the output
// "out" is called like the derivation, another has its name appended.
func (s *Store) derivations(ctx context.Context, name string) (found []candidate, err error) {
	s.realised.mu.Lock()
	byName := s.realised.byName
	s.realised.mu.Unlock()
	if byName == nil {
		if byName, err = s.allDerivations(ctx); err != nil {
			return nil, err
		}
		s.realised.mu.Lock()
		s.realised.byName = byName
		s.realised.mu.Unlock()
	}
	for _, drv := range byName[name] {
		found = append(found, candidate{drv, "out"})
	}
	for i := range name {
		if name[i] == '-' && i+1 < len(name) {
			for _, drv := range byName[name[:i]] {
				found = append(found, candidate{drv, name[i+1:]})
			}
		}
	}
	return found, nil
}

func (s *Store) allDerivations(ctx context.Context) (map[string][]layout.StorePath, error) {
	if texts, ok := s.direct.derivations(ctx); ok {
		byName := map[string][]layout.StorePath{}
		for _, text := range texts {
			s.addDerivation(byName, text)
		}
		return byName, nil
	}
	var byName map[string][]layout.StorePath
	err := s.query.use(ctx, func(_ context.Context, c *conn) error {
		byName = map[string][]layout.StorePath{}
		if err := c.ask(opQueryAllValidPaths); err != nil {
			return err
		}
		for range c.in.count(maxPaths, "valid paths") {
			text := c.in.text(maxText)
			if c.in.err != nil {
				break
			}
			s.addDerivation(byName, text)
		}
		return c.in.err
	})
	if err != nil {
		return nil, fmt.Errorf("list valid paths: %w", err)
	}
	return byName, nil
}

// addDerivation adds a valid path to byName if it is a derivation.
func (s *Store) addDerivation(byName map[string][]layout.StorePath, text string) {
	if drv, err := layout.ParseAbsStorePath(s.storeDir, text); err == nil && drv.IsDerivation() {
		name := strings.TrimSuffix(drv.Name(), ".drv")
		byName[name] = append(byName[name], drv)
	}
}

// realisationsOf adds to found the realisation of the candidate, if it leads to
// path, and those that it depends on.
func (s *Store) realisationsOf(ctx context.Context, c candidate, path layout.StorePath, found map[string]layout.Realisation) error {
	outputs, err := s.openOutputs(c.drv)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(outputs, func(o openOutput) bool { return o.Output == c.output })
	if i < 0 {
		return nil
	}
	r, err := s.realisation(ctx, c.drv, outputs[i].DrvOutput)
	if err != nil || r == nil || r.OutPath != path {
		return err
	}
	top := *r
	if outputs[i].resolved {
		// A derivation without input derivations is resolved to itself, so that
		// it is the name in both generations.
		top.DrvPath = c.drv
	}
	return s.add(ctx, top, found)
}

// add puts a realisation and its dependents into found.
func (s *Store) add(ctx context.Context, r layout.Realisation, found map[string]layout.Realisation) error {
	todo := []layout.Realisation{r}
	for len(todo) > 0 {
		r, todo = todo[len(todo)-1], todo[:len(todo)-1]
		key := r.ID().String()
		if r.DrvHash.IsZero() {
			key = string(layout.BuildTraceKey(r.DrvPath, r.Output))
		}
		if old, ok := found[key]; ok && (old.DrvPath != "" || r.DrvPath == "") {
			continue
		}
		found[key] = r
		for id := range r.Dependents {
			dependent, err := s.realisation(ctx, "", id)
			if err != nil {
				return err
			}
			if dependent == nil {
				return fmt.Errorf("it depends on %s, which the store does not know", id)
			}
			todo = append(todo, *dependent)
		}
	}
	return nil
}

func (s *Store) isDeaf() bool {
	s.realised.mu.Lock()
	defer s.realised.mu.Unlock()
	return s.realised.deaf != nil
}

// openOutputs returns the outputs of a derivation whose paths it does not tell.
func (s *Store) openOutputs(drv layout.StorePath) ([]openOutput, error) {
	s.realised.mu.Lock()
	outputs, ok := s.realised.open[drv]
	s.realised.mu.Unlock()
	if ok {
		return outputs, nil
	}
	d, err := s.realised.modulo.read(drv)
	if err != nil {
		if unknowable(err) {
			return nil, nil // deleted meanwhile
		}
		return nil, err
	}
	for name, out := range d.outputs {
		if out.path == "" && out.hash == "" {
			outputs = append(outputs, openOutput{layout.DrvOutput{Output: name}, len(d.inputDrvs) == 0})
		}
	}
	if len(outputs) > 0 {
		hash, err := s.realised.modulo.id(d)
		if err != nil && !unknowable(err) {
			return nil, err
		}
		for i := range outputs {
			outputs[i].DrvHash = hash
		}
	}
	s.realised.mu.Lock()
	s.realised.open[drv] = outputs
	s.realised.mu.Unlock()
	return outputs, nil
}
