package main

import (
	"context"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/oidc"
	"github.com/nixstatic/nixstatic/webdav/token"
)

// openExchange lets identities in, by the rules of --oidc.
func openExchange(c *cli.Context, auth *token.Auth) error {
	var rules []oidc.Rule
	for _, text := range c.StringSlice("oidc") {
		rule, err := oidc.ParseRule(text)
		if err != nil {
			return usage("--oidc: %v", err)
		}
		rules = append(rules, rule)
	}
	if len(rules) == 0 {
		return nil
	}
	keys, err := loadKeys(c)
	if err != nil {
		return err
	}
	// The servers of a tree sign with the same key, and take each other's tokens.
	var secret []byte
	if len(keys) > 0 {
		secret = []byte(keys[0].Reveal())
	}
	verifier := oidc.New(rules, nil)
	auth.Exchange = &token.Exchange{Uploaders: uploadersBy(rules), Mint: token.NewMint(secret, verifier.Knows), Unavailable: oidc.ErrUnavailable,
		Verify: func(ctx context.Context, raw string) (token.Identity, error) { return verifier.Verify(ctx, raw) }}
	return nil
}

// uploadersBy says whom rules let upload.
func uploadersBy(rules []oidc.Rule) (who []string) {
	for _, rule := range rules {
		if slices.ContainsFunc(rule.Scopes, func(s webdav.Scope) bool { return s >= webdav.Upload }) {
			who = append(who, rule.Holders())
		}
	}
	return who
}
