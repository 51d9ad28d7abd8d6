package inbox

import (
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// checkSigs refuses signatures that claim the name of a key known here and are
// not its signature of any of the texts. It reports whether one is by a key
// whose word is taken: a trusted one, one that is vouched for, or our own, which
// signed what was checked before.
func (b *Inbox) checkSigs(vouched signer.Trusted, sigs []string, texts ...string) (trusted bool, err error) {
	for _, sig := range sigs {
		if _, err := signer.SignatureName(sig); err != nil {
			return false, refuse(BadSignature, "bad signature: %v", err).because(err)
		}
	}
	if _, bad := b.known.Check(sigs, texts...); bad != "" {
		return false, refuse(BadSignature, "bad signature: the one by %.100s does not match; it was made with another key of that name, or for other content", bad)
	}
	trusted, _ = append(slices.Clip(b.trusted), vouched...).Check(sigs, texts...)
	return trusted, nil
}

const (
	// maxStrange is how many signatures by keys that are not known here a record
	// gains by uploads. They prove nothing here, and may be anything.
	maxStrange = 16
	// maxStrangeSize bounds each of them in bytes: 88 are the signature itself.
	maxStrangeSize = 88 + 1 + 100
)

// addSigs returns signatures with more: with those by known keys, and with those by
// others for which there is room.
func (b *Inbox) addSigs(have []string, more ...string) []string {
	strange, there := 0, map[string]bool{}
	for _, sig := range have {
		there[sig] = true
		if !b.knows(sig) {
			strange++
		}
	}
	all := slices.Clone(have)
	for _, sig := range more {
		if there[sig] {
			continue
		}
		there[sig] = true
		if !b.knows(sig) {
			if strange >= maxStrange || len(sig) > maxStrangeSize {
				continue
			}
			strange++
		}
		all = append(all, sig)
	}
	return all
}

// knows reports whether a signature claims to be by a key that is known here.
func (b *Inbox) knows(sig string) bool {
	name, _, _ := strings.Cut(sig, ":")
	return slices.ContainsFunc(b.known, func(key signer.PublicKey) bool { return key.Name() == name })
}

// trustedKeys returns the keys whose word is taken for everything.
func trustedKeys(c Config) signer.Trusted {
	trusted := slices.Clone(c.Trusted)
	for _, key := range c.Writer.Keys {
		trusted = append(trusted, key.Public())
	}
	return trusted
}

// provable reports whether the bytes can prove the content address.
func provable(n *layout.NarInfo) bool {
	ca, err := layout.ParseContentAddress(n.CA)
	return err == nil && ca.Provable()
}
