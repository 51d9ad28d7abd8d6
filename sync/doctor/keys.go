package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// PublicKeysKey is where a cache says by which keys its paths are signed: one a
// line, as nix.conf has them.
const PublicKeysKey layout.Key = "public-keys"

// maxPublicKeys is how many keys a cache may name.
const maxPublicKeys = 32

// PublicKeys reads the keys by which a cache says that its paths are signed. The
// error is fs.ErrNotExist if it does not say.
func PublicKeys(ctx context.Context, r layout.Reader) (signer.Trusted, error) {
	body, _, err := r.Get(ctx, PublicKeysKey)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, 64<<10+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", PublicKeysKey, err)
	}
	return parsePublicKeys(string(text))
}

func parsePublicKeys(text string) (signer.Trusted, error) {
	var keys signer.Trusted
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := signer.ParsePublicKey(line)
		switch {
		case err != nil:
			return nil, fmt.Errorf("read %s: a line of it is not a public key", PublicKeysKey)
		case slices.ContainsFunc(keys, func(k signer.PublicKey) bool { return k.String() == key.String() }):
			continue
		case len(keys) == maxPublicKeys || len(text) > 64<<10:
			return nil, fmt.Errorf("read %s: more than %d keys", PublicKeysKey, maxPublicKeys)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read %s: it has no keys: %w", PublicKeysKey, fs.ErrNotExist)
	}
	return keys, nil
}

// checkKeys compares the keys that the cache names with those that count here.
func checkKeys(ctx context.Context, p *patient) {
	var err error
	p.published, err = PublicKeys(ctx, p.reader)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.Path == "" && p.Tree == nil:
		p.unchecked("the cache does not say what its keys are; with a path its signatures are looked at: nixstatic doctor %s /nix/store/…", p.URL)
		return
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		p.unchecked("%v", err)
		return
	}
	// To name the keys of a cache that is not used yet would be one word too many.
	if p.Tree != nil || p.unused || !p.view.conf.True("require-sigs") {
		return
	}
	trusted := p.view.trusted()
	for _, key := range p.published {
		if slices.ContainsFunc(trusted, func(k signer.PublicKey) bool { return k.String() == key.String() }) {
			return
		}
	}
	p.keysTold = true
	key := p.published[0]
	for _, k := range trusted {
		if slices.ContainsFunc(p.published, func(now signer.PublicKey) bool { return now.Name() == k.Name() }) {
			p.fail("key-changed", "ask the operator whether that is meant, and take the new one over: nixstatic use "+p.URL+" --key "+key.String(),
				"the key %s that is trusted here is not the one that the cache has under this name", k.Name())
			return
		}
	}
	p.tellUntrusted(key)
}

func (p *patient) tellUntrusted(key signer.PublicKey) {
	if p.view.restricted && slices.Contains(p.mine.List("trusted-public-keys"), key.String()) {
		p.fail("key-of-untrusted-user", "sudo nixstatic use "+p.URL+" --write system --key "+key.String(),
			"the settings of this user trust the key %s, and the Nix daemon does not take that over", key.Name())
		return
	}
	if _, by, ok := p.mine.Overridden("trusted-public-keys", key.String()); ok && !p.view.restricted {
		p.fail("keys-set-anew", "write extra-trusted-public-keys instead of trusted-public-keys in "+by.At(),
			"%s sets trusted-public-keys anew, without the key %s", by.At(), key.Name())
		return
	}
	p.fail("key-not-trusted", "nixstatic use "+p.URL+" --key "+key.String(), "the key %s of the cache is not among the trusted ones", key.Name())
}

// daemonSees reports whether the daemon can see a file, if that can be told: the
// unit of a service may hide home directories from it.
func daemonSees(file string) (seen, ok bool) {
	pid := nixstore.DaemonProcess()
	if pid == 0 || os.Geteuid() != 0 {
		return false, false
	}
	root := "/proc/" + strconv.Itoa(pid) + "/root"
	if _, err := os.Stat(root); err != nil {
		return false, false
	}
	_, err := os.Stat(root + file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return false, false
	}
	return err == nil, true
}
