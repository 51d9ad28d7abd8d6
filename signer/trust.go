package signer

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// A PublicKey verifies the signatures of one SecretKey.
type PublicKey struct{ key signature.PublicKey }

// ParsePublicKey reads "name:base64" as nix.conf's trusted-public-keys has it.
func ParsePublicKey(text string) (PublicKey, error) {
	text = strings.TrimSpace(text)
	name, _, _ := strings.Cut(text, ":")
	if err := checkName(name); err != nil {
		return PublicKey{}, fmt.Errorf("parse public key: %w", err)
	}
	key, err := signature.ParsePublicKey(text)
	if err != nil {
		// The text is not quoted: it may be a secret key given by mistake.
		return PublicKey{}, fmt.Errorf("parse public key %s: want name:base64 of 32 bytes", name)
	}
	return PublicKey{key}, nil
}

// Name is the part before the colon.
func (k PublicKey) Name() string { return k.key.Name }

// String returns "name:base64".
func (k PublicKey) String() string { return k.key.String() }

// Verifies reports whether sig, in the form of a Sig field, is this key's
// signature of fingerprint.
func (k PublicKey) Verifies(fingerprint, sig string) bool {
	s, err := signature.ParseSignature(sig)
	return err == nil && k.key.Verify(fingerprint, s)
}

// Trusted is the set of keys whose word is taken.
type Trusted []PublicKey

// ParseTrusted reads keys separated by white space, the form of nix.conf.
func ParseTrusted(texts ...string) (Trusted, error) {
	var keys Trusted
	for _, text := range texts {
		for _, field := range strings.Fields(text) {
			key, err := ParsePublicKey(field)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Verify returns the name of the first trusted key of which sigs holds a good
// signature of fingerprint. Like Nix it tries every signature: a bad one by a
// trusted name does not hide a good one beside it.
func (t Trusted) Verify(fingerprint string, sigs []string) (name string, ok bool) {
	for _, sig := range sigs {
		for _, key := range t {
			if key.Verifies(fingerprint, sig) {
				return key.Name(), true
			}
		}
	}
	return "", false
}

// Check reports whether one of sigs is a good signature by a trusted key of one of
// the fingerprints. The name bad is that of a trusted key whose name stands on a
// signature that is not good, "" if there is none.
func (t Trusted) Check(sigs []string, fingerprints ...string) (good bool, bad string) {
	for _, sig := range sigs {
		name, _, _ := strings.Cut(sig, ":")
		named, verified := false, false
		for _, key := range t {
			if key.Name() == name {
				named = true
				verified = verified || slices.ContainsFunc(fingerprints, func(text string) bool { return key.Verifies(text, sig) })
			}
		}
		good = good || verified
		if named && !verified && bad == "" {
			bad = name
		}
	}
	return good, bad
}

// ParseSignature reads a Sig field the way Nix reads it, which ignores missing
// padding and what follows the padding, and returns it in the one form that every
// version takes: name:base64 of 64 bytes.
func ParseSignature(text string) (string, error) {
	name, payload, _ := strings.Cut(text, ":")
	payload, _, _ = strings.Cut(payload, "=")
	raw, err := base64.RawStdEncoding.DecodeString(payload)
	if err != nil || len(raw) != ed25519.SignatureSize || checkName(name) != nil {
		return "", fmt.Errorf("signature %.100q: want name:base64 of 64 bytes", text)
	}
	return name + ":" + base64.StdEncoding.EncodeToString(raw), nil
}

// IsForeign reports whether a text has the form of a signature of another kind than
// Ed25519: name:base64 of any other number of bytes. It proves nothing here; Nix passes
// over it, too.
func IsForeign(text string) bool {
	name, payload, _ := strings.Cut(text, ":")
	raw, err := base64.StdEncoding.DecodeString(payload)
	return err == nil && len(raw) > 0 && len(raw) != ed25519.SignatureSize && checkName(name) == nil
}

// A Trust says who is believed. The zero value believes no signature, so that only
// content-addressed paths pass.
type Trust struct {
	// Keys are those whose signatures count.
	Keys Trusted
	// All believes everything without any signature, as one believes the local
	// store.
	All bool
}

// Vouches reports whether the path of a fingerprint is believed.
func (t Trust) Vouches(fingerprint string, sigs []string) bool {
	if t.All {
		return true
	}
	_, ok := t.Keys.Verify(fingerprint, sigs)
	return ok
}

// SignatureName returns the key name of a Sig field, or an error if the field
// is not of the form that Nix since 2.34 insists on: name:base64 of 64 bytes.
func SignatureName(sig string) (string, error) {
	s, err := signature.ParseSignature(sig)
	if err != nil {
		return "", fmt.Errorf("signature %.100q: want name:base64 of 64 bytes", sig)
	}
	return s.Name, nil
}
