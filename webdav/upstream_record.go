package webdav

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// What a tree leans on is written in it, so that whoever checks it later needs
// neither the network nor our word (I3):
//
//	.nixstatic/upstreams                 JSON: the caches, with their public keys
//	.nixstatic/upstream/<hash>.narinfo   the upstream's own record of a path that
//	                                     the tree's refer to, signed by it
const (
	upstreamsKey   layout.Key = layout.PrivatePrefix + "upstreams"
	upstreamPrefix            = layout.PrivatePrefix + "upstream/"

	maxUpstreamsFile = 1 << 20
)

// upstreamsFile is the content of .nixstatic/upstreams.
type upstreamsFile struct {
	Upstreams []RecordedUpstream `json:"upstreams"`
}

// A RecordedUpstream is a cache that a tree leans on.
type RecordedUpstream struct {
	URL  string   `json:"url"`
	Keys []string `json:"publicKeys"` // name:base64; any of them may have signed
}

// A Provision tells what upstreams provide for a tree, by what is written in the
// tree alone.
type Provision struct {
	tree      layout.Reader
	storeDir  string
	upstreams []RecordedUpstream
	keys      signer.Trusted
}

// ReadProvision reads which upstreams a tree leans on. That it leans on none is
// no error.
func ReadProvision(ctx context.Context, tree layout.Reader, storeDir string) (*Provision, error) {
	p := &Provision{tree: tree, storeDir: storeDir}
	text, err := layout.ReadAll(ctx, tree, upstreamsKey, maxUpstreamsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	var file upstreamsFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", upstreamsKey, err)
	}
	for _, u := range file.Upstreams {
		keys, err := signer.ParseTrusted(u.Keys...)
		if err != nil {
			return nil, fmt.Errorf("read %s: %s: %w", upstreamsKey, u.URL, err)
		}
		p.keys = append(p.keys, keys...)
	}
	p.upstreams = file.Upstreams
	return p, nil
}

// Upstreams returns the caches that the tree leans on.
func (p *Provision) Upstreams() []RecordedUpstream { return p.upstreams }

// Provides reports whether an upstream's record of a path is in the tree, with a
// signature of that upstream's that is good.
func (p *Provision) Provides(ctx context.Context, path layout.StorePath) (bool, error) {
	if len(p.keys) == 0 {
		return false, nil
	}
	text, err := layout.ReadAll(ctx, p.tree, provisionKey(path.Hash()), layout.MaxNarInfo)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, layout.ErrTooLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n, err := verifiedRecord(text, path.Hash(), p.storeDir, p.keys)
	return err == nil && n.Path == path, nil
}

func provisionKey(hash string) layout.Key { return layout.Key(upstreamPrefix + hash + ".narinfo") }

// verifiedRecord reads a record that must be of the path with this hash, and
// signed by one of the keys.
func verifiedRecord(text []byte, hash, storeDir string, keys signer.Trusted) (*layout.NarInfo, error) {
	n, err := layout.ParseNarInfo(text, storeDir)
	if err != nil {
		return nil, err
	}
	if n.Path.Hash() != hash {
		return nil, fmt.Errorf("it is the record of %s", n.Path)
	}
	if _, ok := keys.Verify(n.Fingerprint(storeDir), n.Sigs); !ok {
		return nil, fmt.Errorf("%s has no good signature by a key of this upstream", n.Path)
	}
	return n, nil
}

// recordUpstreams adds caches to those that the tree leans on. None is ever
// removed: what was published on its word stays. A cache that comes with other
// keys keeps the old ones too, by which older records are signed.
func recordUpstreams(ctx context.Context, tree layout.Tree, add []RecordedUpstream) error {
	if len(add) == 0 {
		return nil
	}
	for range 10 {
		var file upstreamsFile
		var opts layout.PutOptions
		before, etag, err := readWithETag(ctx, tree, upstreamsKey, maxUpstreamsFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			opts.IfAbsent = true
		case err != nil:
			return err
		default:
			opts.IfMatch = etag
			if err := json.Unmarshal(before, &file); err != nil {
				return fmt.Errorf("read %s: %w", upstreamsKey, err)
			}
		}
		for _, u := range add {
			i := slices.IndexFunc(file.Upstreams, func(have RecordedUpstream) bool { return have.URL == u.URL })
			if i < 0 {
				i = len(file.Upstreams)
				file.Upstreams = append(file.Upstreams, RecordedUpstream{URL: u.URL})
			}
			for _, key := range u.Keys {
				if !slices.Contains(file.Upstreams[i].Keys, key) {
					file.Upstreams[i].Keys = append(file.Upstreams[i].Keys, key)
				}
			}
		}
		text, err := json.MarshalIndent(file, "", "  ")
		if err != nil {
			return err
		}
		text = append(text, '\n')
		if bytes.Equal(text, before) {
			return nil
		}
		err = tree.Put(ctx, upstreamsKey, layout.Bytes(text), opts)
		if !errors.Is(err, layout.ErrChanged) && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("write %s: %w", upstreamsKey, layout.ErrChanged)
}

// readWithETag returns the bytes at key and the version that they are.
func readWithETag(ctx context.Context, tree layout.Reader, key layout.Key, limit int64) ([]byte, string, error) {
	for range 10 {
		before, err := tree.Stat(ctx, key)
		if err != nil {
			return nil, "", err
		}
		text, err := layout.ReadAll(ctx, tree, key, limit)
		if err != nil {
			return nil, "", err
		}
		if after, err := tree.Stat(ctx, key); err == nil && after.ETag == before.ETag {
			return text, before.ETag, nil
		}
	}
	return nil, "", fmt.Errorf("read %s: it %w", key, layout.ErrChanged)
}
