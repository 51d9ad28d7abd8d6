package layout

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// upstreamsFile is the object at UpstreamsKey.
type upstreamsFile struct {
	Upstreams []RecordedUpstream `json:"upstreams"`
}

// A RecordedUpstream is a cache that a tree leans on.
type RecordedUpstream struct {
	URL  string   `json:"url"`
	Keys []string `json:"publicKeys"` // name:base64; any of them may have signed
}

// ReadUpstreams returns the caches that a tree leans on, none if it says
// nothing of them.
func ReadUpstreams(ctx context.Context, tree Reader) ([]RecordedUpstream, error) {
	text, err := ReadAll(ctx, tree, UpstreamsKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseUpstreams(text)
}

func parseUpstreams(text []byte) ([]RecordedUpstream, error) {
	var file upstreamsFile
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", UpstreamsKey, err)
	}
	return file.Upstreams, nil
}

// AddUpstreams returns the caches of both lists. A cache that comes with other
// keys keeps the old ones too, by which older records are signed.
func AddUpstreams(have, more []RecordedUpstream) []RecordedUpstream {
	all := slices.Clone(have)
	for _, u := range more {
		i := slices.IndexFunc(all, func(have RecordedUpstream) bool { return have.URL == u.URL })
		if i < 0 {
			i = len(all)
			all = append(all, RecordedUpstream{URL: u.URL})
		}
		all[i].Keys = slices.Clone(all[i].Keys)
		for _, key := range u.Keys {
			if !slices.Contains(all[i].Keys, key) {
				all[i].Keys = append(all[i].Keys, key)
			}
		}
	}
	return all
}

// RecordUpstreams adds caches to those that the tree leans on. None is ever
// removed: what was published on its word stays.
func RecordUpstreams(ctx context.Context, tree Tree, add []RecordedUpstream) error {
	if len(add) == 0 {
		return nil
	}
	return Update(ctx, tree, UpstreamsKey, func(before []byte) ([]byte, error) {
		var have []RecordedUpstream
		if before != nil {
			var err error
			if have, err = parseUpstreams(before); err != nil {
				return nil, err
			}
		}
		text, err := json.MarshalIndent(upstreamsFile{AddUpstreams(have, add)}, "", "  ")
		if text = append(text, '\n'); err != nil || bytes.Equal(text, before) {
			return nil, err
		}
		return text, nil
	})
}
