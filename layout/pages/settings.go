package pages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nixstatic/nixstatic/layout"
)

// Exists reports whether a tree has a page of ours.
func Exists(ctx context.Context, r layout.Reader) (bool, error) {
	_, there, err := layout.Lookup(ctx, r, layout.PageKey)
	return there, err
}

// ReadSettings returns the settings of a page. The error is fs.ErrNotExist if the
// tree has none.
func ReadSettings(ctx context.Context, r layout.Reader) (Settings, error) {
	text, err := layout.ReadAll(ctx, r, layout.PageKey)
	if err != nil {
		return Settings{}, err
	}
	return parseSettings(text)
}

func parseSettings(text []byte) (s Settings, err error) {
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", layout.PageKey, err)
	}
	if s.Version != settingsVersion {
		return s, fmt.Errorf("read %s: version %d, not %d", layout.PageKey, s.Version, settingsVersion)
	}
	return s, nil
}

// Set changes the settings of a page, and says that the tree has one. The page
// itself is written by the next Apply. The error is ErrForeign if an index.html is
// there that we did not write, unless it may be replaced.
func (k *Keeper) Set(ctx context.Context, replace bool, change func(*Settings) error) error {
	if !replace {
		if err := k.ours(ctx); err != nil {
			return err
		}
	}
	return k.set(ctx, func(s *Settings) error {
		s.Files = "" // and so all files are written again
		return change(s)
	})
}

func (k *Keeper) set(ctx context.Context, change func(*Settings) error) error {
	return layout.Update(ctx, k.Tree, layout.PageKey, func(text []byte) ([]byte, error) {
		s := Settings{Version: settingsVersion}
		if text != nil {
			var err error
			if s, err = parseSettings(text); err != nil {
				return nil, err
			}
		}
		if err := change(&s); err != nil {
			return nil, err
		}
		next, err := json.MarshalIndent(s, "", "  ")
		return append(next, '\n'), err
	})
}

// ours finds out whether index.html may be written.
func (k *Keeper) ours(ctx context.Context) error {
	there, err := Exists(ctx, k.Tree)
	if err != nil || there {
		return err
	}
	text, err := layout.ReadAll(ctx, k.Tree, indexKey)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !isOurs(text) {
		err = ErrForeign
	}
	return err
}
