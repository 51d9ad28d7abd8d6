package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/nix-community/go-nix/pkg/nixbase32"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/signer"
)

// endless is a source in which each path refers to a new one.
type endless struct{ asked int }

func (*endless) StoreDir() string { return layout.DefaultStoreDir }

func (e *endless) Infos(_ context.Context, paths []layout.StorePath) ([]layout.PathInfo, error) {
	var infos []layout.PathInfo
	for _, p := range paths {
		e.asked++
		sum := sha256.Sum256([]byte(p))
		infos = append(infos, layout.PathInfo{Path: p, NarHash: sum, NarSize: 1,
			References: []layout.StorePath{layout.StorePath(nixbase32.EncodeToString(sum[:20]) + "-x")}})
	}
	return infos, nil
}

func (*endless) WriteNAR(context.Context, layout.StorePath, io.Writer) error {
	return errors.New("a NAR was asked for")
}

// TestEndless: a chain of references without an end is given up.
func TestEndless(t *testing.T) {
	source := &endless{}
	r := &Run{Source: source, Trust: signer.Trust{All: true}, Writer: &layout.Writer{Tree: treetest.NewMem(t), StoreDir: layout.DefaultStoreDir}}
	_, err := r.Plan(t.Context(), []layout.StorePath{"00000000000000000000000000000000-x"})
	if !errors.Is(err, ErrEndless) || source.asked != maxLevels {
		t.Errorf("%d paths asked for: %v", source.asked, err)
	}
}
