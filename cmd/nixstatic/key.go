package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/signer"
)

func keyCommand() *cli.Command {
	return &cli.Command{
		Name:  "key",
		Usage: "make keys, and show public ones",
		Description: "Keys are in Nix's own format, and Nix's commands take them.\n\n" +
			"Examples:\n" +
			"   nixstatic key generate --name cache.example.org-1 --to secret.key\n" +
			"   nixstatic key public secret.key",
		Subcommands: []*cli.Command{{
			Name:      "generate",
			Usage:     "make a key pair, and print the public key",
			ArgsUsage: " ",
			Description: "The secret key goes to a new file that only you can read; a file that is there\n" +
				"already is never overwritten. The public key goes to standard output.\n\n" +
				"Example:\n" +
				"   nixstatic key generate --name cache.example.org-1 --to secret.key",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "name", Usage: "the key's `NAME`: by custom the cache's host name and a number"},
				&cli.StringFlag{Name: "to", Usage: "write the secret key to `FILE`"},
			},
			Action: func(c *cli.Context) error {
				if c.NArg() > 0 {
					return usage("key generate takes no arguments, only --name and --to")
				}
				if err := need(c, "name", "to"); err != nil {
					return err
				}
				key, err := signer.Generate(c.String("name"))
				if err != nil {
					return usage("--name: %v", err)
				}
				if err := key.Save(c.String("to")); err != nil {
					if errors.Is(err, fs.ErrExist) {
						return withHint(err, "choose another file: a key is never overwritten, since caches may depend on it")
					}
					return err
				}
				fmt.Fprintln(c.App.Writer, key.Public())
				return nil
			},
		}, {
			Name:      "public",
			Usage:     "print the public key of a secret one",
			ArgsUsage: "FILE",
			Description: "FILE is a secret key, or - for one on standard input. The result belongs into\n" +
				"trusted-public-keys of nix.conf.\n\n" +
				"Example:\n" +
				"   nixstatic key public secret.key",
			Action: func(c *cli.Context) error {
				if c.NArg() != 1 {
					return usage("key public takes one argument, the file of a secret key")
				}
				key, err := readKey(c)
				if err != nil {
					return err
				}
				fmt.Fprintln(c.App.Writer, key.Public())
				return nil
			},
		}},
	}
}

func readKey(c *cli.Context) (signer.SecretKey, error) {
	if file := c.Args().First(); file != "-" {
		key, err := signer.LoadSecretKey(file)
		if err != nil {
			err = withHint(err, "%s", cmp.Or(notFile(file), "a secret key is a file that nixstatic key generate or nix-store --generate-binary-cache-key made"))
		}
		return key, err
	}
	return readSecretKey(c.App.Reader)
}
