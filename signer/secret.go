package signer

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"

	"github.com/nix-community/go-nix/pkg/narinfo/signature"
)

// maxKeyFile bounds a key file: a name of 255 bytes, a colon, 88 bytes of
// base64 and room for white space.
const maxKeyFile = 4096

// A SecretKey signs. The zero value is unusable; ParseSecretKey, LoadSecretKey
// and Generate make one.
type SecretKey struct {
	name string
	key  *signature.SecretKey // a pointer: not even %v of a struct around it shows the bytes
}

// Generate makes a new key pair named name, usually the cache's host name
// followed by a number: "cache.example.org-1".
func Generate(name string) (SecretKey, error) {
	if err := checkName(name); err != nil {
		return SecretKey{}, err
	}
	key, _, err := signature.GenerateKeypair(name, nil)
	if err != nil {
		return SecretKey{}, fmt.Errorf("generate key %s: %w", name, err)
	}
	return SecretKey{name, &key}, nil
}

// ParseSecretKey reads "name:base64" as nix-store --generate-binary-cache-key
// writes it. White space around it is ignored. An error never quotes the text.
func ParseSecretKey(text string) (SecretKey, error) {
	text = strings.TrimSpace(text)
	name, payload, ok := strings.Cut(text, ":")
	if !ok {
		return SecretKey{}, errors.New("parse secret key: no colon; the form is name:base64")
	}
	if err := checkName(name); err != nil {
		return SecretKey{}, fmt.Errorf("parse secret key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(payload)
	switch {
	case err != nil:
		return SecretKey{}, fmt.Errorf("parse secret key %s: the part after the colon is not base64", name)
	case len(raw) == ed25519.PublicKeySize:
		return SecretKey{}, fmt.Errorf("parse secret key %s: this is a public key", name)
	case len(raw) != ed25519.PrivateKeySize:
		return SecretKey{}, fmt.Errorf("parse secret key %s: %d bytes, want %d", name, len(raw), ed25519.PrivateKeySize)
	}
	// The second half is the public key. Were it damaged, every signature made
	// with it would be refused by every client, and only then would one know.
	if !bytes.Equal(ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize]), raw) {
		return SecretKey{}, fmt.Errorf("parse secret key %s: its public half does not belong to its secret half", name)
	}
	key, err := signature.LoadSecretKey(text)
	if err != nil {
		return SecretKey{}, fmt.Errorf("parse secret key %s: malformed", name)
	}
	return SecretKey{name, &key}, nil
}

// LoadSecretKey reads a key file.
func LoadSecretKey(file string) (SecretKey, error) {
	f, err := os.Open(file)
	if err != nil {
		return SecretKey{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return SecretKey{}, fmt.Errorf("read %s: %w", file, err)
	}
	if len(text) > maxKeyFile {
		return SecretKey{}, fmt.Errorf("read %s: too long for a key file", file)
	}
	key, err := ParseSecretKey(string(text))
	if err != nil {
		return SecretKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

// Save writes the key to a new file that only its owner can read. A file that
// is there already is left as it is, and the error is fs.ErrExist.
func (k SecretKey) Save(file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(k.Reveal())
	if err == nil {
		// Not every file system can bring a file to disk before it does so by itself.
		if err = f.Sync(); errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
			err = nil
		}
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		os.Remove(file)
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// Reveal returns the secret in the form of a key file, without a newline.
func (k SecretKey) Reveal() string { return k.key.String() }

// Name is the part before the colon.
func (k SecretKey) Name() string { return k.name }

// String returns the name alone, so that no log shows the secret.
func (k SecretKey) String() string { return k.name + ":(secret)" }

// GoString returns what String does, for %#v.
func (k SecretKey) GoString() string { return k.String() }

// LogValue returns what String does, for slog.
func (k SecretKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Public returns the half to hand out.
func (k SecretKey) Public() PublicKey { return PublicKey{k.key.ToPublicKey()} }

// Sign returns the signature of fingerprint as a narinfo's Sig field holds it.
func (k SecretKey) Sign(fingerprint string) (string, error) {
	sig, err := k.key.Sign(nil, fingerprint)
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", k.name, err)
	}
	return sig.String(), nil
}

func checkName(name string) error {
	if name == "" || len(name) > 255 {
		return fmt.Errorf("key name %q: want 1 to 255 bytes, such as cache.example.org-1", name)
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c == ':' || c >= 0x7f {
			return fmt.Errorf("key name %q: only printable ASCII without blanks and colons", name)
		}
	}
	return nil
}
