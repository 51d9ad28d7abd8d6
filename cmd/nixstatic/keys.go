package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/signer"
)

// keyInEnvironment is the variable with a secret key itself, which is how a CI
// system hands over its secrets.
const keyInEnvironment = "NIXSTATIC_SECRET_KEY"

func keyFlag() cli.Flag { return keyFlagFor("sign with the key in `FILE`") }

// keyFlagFor is the flag for secret keys of a command that does something of its own
// with them.
func keyFlagFor(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "secret-key-file", Aliases: []string{"k"},
		Usage: usage + ", - for standard input; may be repeated [else the key in $" + keyInEnvironment + "]"}
}

// trustedKeysFlag is the flag for public keys, by our name and by that of Nix, which
// takes several in one word.
func trustedKeysFlag(usage string) cli.Flag {
	return &cli.StringSliceFlag{Name: "trusted-public-key", Aliases: []string{"trusted-public-keys"}, Usage: usage}
}

// loadKeys reads the keys to sign with.
func loadKeys(c *cli.Context) ([]signer.SecretKey, error) {
	const make = "nixstatic key generate --name cache.example.org-1 --to FILE makes one; nix-store --generate-binary-cache-key too"
	files := c.StringSlice("secret-key-file")
	if text := os.Getenv(keyInEnvironment); len(files) == 0 && text != "" {
		key, err := signer.ParseSecretKey(text)
		if err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", keyInEnvironment, err), make)
		}
		return []signer.SecretKey{key}, nil
	}
	var keys []signer.SecretKey
	stdin := false
	for _, file := range files {
		key, err := signer.SecretKey{}, error(nil)
		if file == "-" {
			if stdin {
				return nil, errTwice()
			}
			stdin = true
			key, err = readSecretKey(c.App.Reader)
		} else {
			key, err = signer.LoadSecretKey(file)
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("load secret key: %w", err)
		}
		if err != nil {
			return nil, withHint(fmt.Errorf("load secret key: %w", err), "%s", cmp.Or(notFile(file), make))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// notFile tells a person who gave a secret key, and not the name of its file. It stands in
// the list of processes then.
func notFile(word string) string {
	if _, err := signer.ParseSecretKey(word); err != nil {
		return ""
	}
	return "this is a key, and the name of its file is wanted; $" + keyInEnvironment + " has the key itself"
}

// errTwice refuses two uses of standard input: a key would be taken for a path, and
// be shown.
func errTwice() error { return usage("standard input cannot be read twice: -k - takes a key from it") }

// readSecretKey reads a secret key from standard input.
func readSecretKey(r io.Reader) (signer.SecretKey, error) {
	text, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return signer.SecretKey{}, fmt.Errorf("read standard input: %w", err)
	}
	return signer.ParseSecretKey(string(text))
}
