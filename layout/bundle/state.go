package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/parallel"
)

// MaxPaths bounds the paths of a state and of a plan.
const MaxPaths = 5_000_000

const (
	hashLen   = 32
	lineLen   = hashLen + 1
	stateHead = "nixstatic-state "
	stateEnd  = "end "
	// stateRest is room for the first and the last line of a state, in bytes.
	stateRest = 8 << 10
)

// A BadStateError tells what is wrong with a state.
type BadStateError struct{ Msg string }

func (e *BadStateError) Error() string { return "not a state: " + e.Msg }

// ErrVersion says that a later version of this program made a state or a bundle.
var ErrVersion = errors.New("made by a later version of nixstatic")

// A State is what a tree has: the store paths whose records and NARs are there, and those
// that its upstreams provide. The zero value has nothing.
//
// Its text has a line with the version and the store directory, the hashes of the paths,
// sorted, and a line with their number and the SHA-256 of all before.
type State struct {
	StoreDir string

	lines []byte // the hashes, each with the end of its line
}

// Len returns the number of paths.
func (s *State) Len() int { return len(s.lines) / lineLen }

// Has reports whether a path is there. A nil State has none.
func (s *State) Has(p layout.StorePath) bool {
	if s == nil {
		return false
	}
	line := []byte(p.Hash() + "\n")
	at := sort.Search(s.Len(), func(i int) bool { return bytes.Compare(s.line(i), line) >= 0 })
	return at < s.Len() && bytes.Equal(s.line(at), line)
}

func (s *State) line(i int) []byte { return s.lines[i*lineLen : (i+1)*lineLen] }

// Join adds what another state has.
func (s *State) Join(other *State) error {
	if s.StoreDir == "" {
		s.StoreDir = other.StoreDir
	}
	if s.StoreDir != other.StoreDir {
		return fmt.Errorf("one state is of the store directory %s, another of %s", s.StoreDir, other.StoreDir)
	}
	hashes := make([]string, 0, s.Len()+other.Len())
	for _, from := range []*State{s, other} {
		for i := range from.Len() {
			hashes = append(hashes, string(from.line(i)[:hashLen]))
		}
	}
	s.lines = linesOf(hashes)
	return nil
}

func linesOf(hashes []string) []byte {
	slices.Sort(hashes)
	hashes = slices.Compact(hashes)
	lines := make([]byte, 0, len(hashes)*lineLen)
	for _, hash := range hashes {
		lines = append(append(lines, hash...), '\n')
	}
	return lines
}

// WriteTo writes the text.
func (s *State) WriteTo(w io.Writer) (int64, error) {
	first := fmt.Appendf(nil, "%s%d %s\n", stateHead, version, s.StoreDir)
	total := int64(0)
	for _, part := range [][]byte{first, s.lines, s.end(first)} {
		n, err := w.Write(part)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// end returns the last line.
func (s *State) end(first []byte) []byte {
	sum := sha256.New()
	sum.Write(first)
	sum.Write(s.lines)
	return fmt.Appendf(nil, "%s%d %x\n", stateEnd, s.Len(), sum.Sum(nil))
}

// ReadState reads the text of a state, which must be whole. The error is a
// *BadStateError or ErrVersion if it is not one.
func ReadState(r io.Reader) (*State, error) {
	const most = MaxPaths*lineLen + stateRest
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if len(text) > most {
		return nil, &BadStateError{fmt.Sprintf("more than %d bytes", most)}
	}
	first, rest, ok := bytes.Cut(text, []byte("\n"))
	head, ok2 := strings.CutPrefix(string(first[:min(len(first), stateRest)]), stateHead)
	number, storeDir, ok3 := strings.Cut(head, " ")
	switch {
	case !ok || !ok2 || !ok3:
		return nil, &BadStateError{"it does not begin as one"}
	case number != fmt.Sprint(version):
		return nil, fmt.Errorf("state of version %.20q: %w", number, ErrVersion)
	}
	if err := layout.CheckStoreDir(storeDir); err != nil {
		return nil, &BadStateError{err.Error()}
	}
	s := &State{StoreDir: storeDir}
	n := 0
	for (n+1)*lineLen <= len(rest) && isHash(rest[n*lineLen:(n+1)*lineLen]) {
		n++
		s.lines = rest[:n*lineLen]
		if n > 1 && bytes.Compare(s.line(n-2), s.line(n-1)) >= 0 {
			return nil, &BadStateError{fmt.Sprintf("line %d is not in order", n+1)}
		}
	}
	if !bytes.Equal(rest[len(s.lines):], s.end(text[:len(first)+1])) {
		return nil, &BadStateError{fmt.Sprintf("it is damaged or cut off after %d paths", n)}
	}
	return s, nil
}

// isHash reports whether a line is the hash of a store path.
func isHash(line []byte) bool {
	return line[hashLen] == '\n' && layout.NarInfoKeyOf(string(line[:hashLen])).PathHash() != ""
}

// stating is how many records are read at once.
const stating = 25

// TakeState looks what a tree has: each record is read, and its NAR looked for. Seen
// counts the records meanwhile; it may be nil. The error is layout.ErrNotListable if the
// tree does not tell what it has.
func TakeState(ctx context.Context, tree layout.Reader, seen *atomic.Int64) (*State, error) {
	info, err := layout.ReadCacheInfo(ctx, tree)
	if err != nil {
		return nil, err
	}
	if seen == nil {
		seen = new(atomic.Int64)
	}
	var mu sync.Mutex
	var hashes []string
	add := func(hash string) error {
		mu.Lock()
		defer mu.Unlock()
		if hashes = append(hashes, hash); len(hashes) > MaxPaths {
			return fmt.Errorf("more than %d paths", MaxPaths)
		}
		return nil
	}
	err = parallel.Each(ctx, stating, layout.NarInfoKeys(ctx, tree), func(ctx context.Context, key layout.Key) error {
		seen.Add(1)
		whole, err := isWhole(ctx, tree, key, info.StoreDir)
		if !whole || err != nil {
			return err
		}
		return add(key.PathHash())
	})
	if err != nil {
		return nil, err
	}
	if err := takeProvided(ctx, tree, info.StoreDir, add); err != nil {
		return nil, err
	}
	return &State{StoreDir: info.StoreDir, lines: linesOf(hashes)}, nil
}

// takeProvided adds what upstreams provide by what is written in the tree.
func takeProvided(ctx context.Context, tree layout.Reader, storeDir string, add func(string) error) error {
	provision, err := layout.ReadProvision(ctx, tree, storeDir)
	if err != nil || len(provision.Upstreams()) == 0 {
		return err
	}
	for info, err := range layout.List(ctx, tree, layout.ProvisionsPrefix) {
		if err != nil {
			return err
		}
		hash := info.Key.ProvisionHash()
		if hash == "" {
			continue
		}
		text, err := layout.ReadAll(ctx, tree, info.Key)
		if err != nil {
			continue // it proves nothing, and the path is counted as lacking
		}
		n, err := layout.ParseNarInfo(text, storeDir)
		if err != nil {
			continue
		}
		if there, err := provision.Provides(ctx, n.Path); err != nil {
			return err
		} else if there && n.Path.Hash() == hash {
			if err := add(hash); err != nil {
				return err
			}
		}
	}
	return nil
}

// isWhole reports whether the record at a key can be read and its NAR is there, with the
// size that the record tells. An error means that it could not tell (I5).
func isWhole(ctx context.Context, tree layout.Reader, key layout.Key, storeDir string) (bool, error) {
	text, err := layout.ReadAll(ctx, tree, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil || n.Path.Hash() != key.PathHash() {
		return false, nil
	}
	info, err := layout.FindNAR(ctx, tree, n)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return n.FileSize == 0 || info.Size < 0 || info.Size == n.FileSize || layout.TraitsOf(tree).Encoded, nil
}
