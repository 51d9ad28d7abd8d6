package layout

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/signer"
)

// A Provision tells what upstreams provide for a tree, by what is written in the
// tree alone.
type Provision struct {
	tree      Reader
	storeDir  string
	upstreams []RecordedUpstream
	keys      signer.Trusted
}

// ReadProvision reads which upstreams a tree depends on. It returns no error if
// there are none.
func ReadProvision(ctx context.Context, tree Reader, storeDir string) (*Provision, error) {
	p := &Provision{tree: tree, storeDir: storeDir}
	var err error
	if p.upstreams, err = ReadUpstreams(ctx, tree); err != nil {
		return nil, err
	}
	for _, u := range p.upstreams {
		keys, err := signer.ParseTrusted(u.Keys...)
		if err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", UpstreamsKey, u.URL, err)
		}
		p.keys = append(p.keys, keys...)
	}
	return p, nil
}

// Upstreams returns the caches that the tree leans on.
func (p *Provision) Upstreams() []RecordedUpstream { return p.upstreams }

// Provides reports whether an upstream's record of a path is in the tree, with a
// signature of that upstream's that is good.
func (p *Provision) Provides(ctx context.Context, path StorePath) (bool, error) {
	if len(p.keys) == 0 {
		return false, nil
	}
	text, err := ReadAll(ctx, p.tree, ProvisionKey(path))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := VerifyNarInfo(text, path.Hash(), p.storeDir, p.keys)
	return err == nil && n.Path == path, nil
}

// VerifyNarInfo reads a record that must be of the path with this hash, and
// signed by one of the keys.
func VerifyNarInfo(text []byte, hash, storeDir string, keys signer.Trusted) (*NarInfo, error) {
	n, err := ParseNarInfo(text, storeDir)
	if err != nil {
		return nil, err
	}
	if n.Path.Hash() != hash {
		return nil, fmt.Errorf("it is the narinfo of %s", n.Path)
	}
	if _, ok := keys.Verify(n.Fingerprint(storeDir), n.Sigs); !ok {
		return nil, fmt.Errorf("%s has no good signature by a key of this upstream", n.Path)
	}
	return n, nil
}
