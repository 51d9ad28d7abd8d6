package nixstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"

	"github.com/nixstatic/nixstatic/layout"
)

// A modulo computes hashes of derivations modulo their inputs: each input
// derivation is replaced by its own such hash, and a fixed-output derivation's is
// that of its output, so that how a fixed output is fetched does not matter. Nix
// up to 2.34 names realisations by it. Source: hashDerivationModulo.
//
// It remembers what it computed: the derivations of a system share most of their
// inputs.
type modulo struct {
	storeDir string
	realDir  string

	mu     sync.Mutex
	hashes map[layout.StorePath]map[string]string // derivation → output → hexadecimal hash
}

// errImpure: an impure derivation has another outcome each time, and no realisation
// is kept of what depends on it.
var errImpure = errors.New("depends on an impure derivation")

// maxDepth bounds a chain of input derivations. Real ones have some hundred links; a
// circle of files that were tampered with has no end.
const maxDepth = 10_000

// read reads a derivation from the store directory.
func (m *modulo) read(drv layout.StorePath) (*derivation, error) {
	f, err := os.Open(m.realDir + "/" + string(drv))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDerivation+1))
	if err != nil {
		return nil, err
	}
	d, err := parseDerivation(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", drv, err)
	}
	return d, nil
}

// id returns the hash that names the realisations of a derivation's outputs. The
// error is fs.ErrNotExist if an input derivation is no longer in the store.
func (m *modulo) id(d *derivation) (layout.Hash, error) {
	if d.impure() {
		return layout.Hash{}, errImpure
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	inputs, err := m.inputs(d, 0)
	if err != nil {
		return layout.Hash{}, err
	}
	return sha256.Sum256([]byte(d.marshal(inputs, true))), nil
}

// inputs returns the input derivations by hash.
func (m *modulo) inputs(d *derivation, depth int) (map[string][]string, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d input derivations in a chain", maxDepth)
	}
	inputs := make(map[string][]string, len(d.inputDrvs))
	for path, outputs := range d.inputDrvs {
		drv, err := layout.ParseAbsStorePath(m.storeDir, path)
		if err != nil {
			return nil, err
		}
		hashes, err := m.outputs(drv, depth)
		if err != nil {
			return nil, err
		}
		for _, output := range outputs {
			hash, ok := hashes[output]
			if !ok {
				return nil, fmt.Errorf("%s has no output %q", drv, output)
			}
			if !slices.Contains(inputs[hash], output) {
				inputs[hash] = append(inputs[hash], output)
			}
		}
	}
	return inputs, nil
}

// outputs returns the hashes by which an input derivation's outputs are replaced.
func (m *modulo) outputs(drv layout.StorePath, depth int) (map[string]string, error) {
	if hashes, ok := m.hashes[drv]; ok {
		return hashes, nil
	}
	d, err := m.read(drv)
	if err != nil {
		return nil, err
	}
	if d.impure() {
		return nil, errImpure
	}
	text := ""
	if d.fixed() {
		out := d.outputs["out"]
		text = "fixed:out:" + out.algo + ":" + out.hash + ":" + out.path
	} else {
		inputs, err := m.inputs(d, depth+1)
		if err != nil {
			return nil, err
		}
		text = d.marshal(inputs, false)
	}
	sum := sha256.Sum256([]byte(text))
	hashes := make(map[string]string, len(d.outputs))
	for name := range d.outputs {
		hashes[name] = hex.EncodeToString(sum[:])
	}
	m.hashes[drv] = hashes
	return hashes, nil
}

// unknowable reports whether err says that a derivation's hash has no meaning here,
// rather than that something went wrong.
func unknowable(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errImpure) }
