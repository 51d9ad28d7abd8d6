package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
)

// unsignedNote tells that paths have no signature, which no server notices and every
// client does. all says that of all the paths that were looked at.
func unsignedNote(unsigned, paths int64, all, cache string) string {
	what := fmt.Sprintf("%s of %d are not signed and the others are", plural(unsigned, "path"), paths)
	if unsigned == 1 {
		what = fmt.Sprintf("1 path of %d is not signed and the others are", paths)
	}
	if unsigned >= paths {
		what = all
	}
	return what + `: Nix refuses that as "not signed by any of the keys"; nixstatic sign ` + quoted(cache) +
		" -k FILE signs what is there, and export -k FILE what comes"
}

// sampled is how many narinfos are looked at when a server starts: that nothing is
// signed shows in the first ones.
const sampled = 64

// tellUnsigned warns if readers are given what they will refuse.
func (s *service) tellUnsigned(ctx context.Context, storeDir string) {
	var seen, unsigned int64
	for info, err := range s.tree.Tree.List(ctx, "") {
		if err != nil || seen >= sampled {
			break // a tree that cannot be read is told of by others
		}
		if info.Key.Kind() != layout.KindNarInfo {
			continue
		}
		text, err := layout.ReadAll(ctx, s.tree.Tree, info.Key)
		if err != nil {
			continue
		}
		if n, err := layout.ParseNarInfo(text, storeDir); err == nil {
			seen++
			if len(n.Sigs) == 0 && n.CA == "" {
				unsigned++
			}
		}
	}
	if unsigned > 0 && ctx.Err() == nil {
		s.log.Warn("paths are not signed, and Nix refuses these: nixstatic sign signs what is there", "unsigned", unsigned, "of the first", seen)
	}
}

// tellNext says what to do with a cache that was made just now.
func tellNext(c *cli.Context, cache string, keys []signer.SecretKey) {
	public, named := "", ""
	for _, key := range keys {
		public += " " + key.Public().String()
		named += " --key " + key.Public().String()
	}
	say(c, "next: any web server can host this; to try it here: nixstatic serve %s --read-only", quoted(cache))
	if public == "" {
		return
	}
	// A cache that was not made by init does not say what its keys are.
	say(c, "clients then run nixstatic use URL%s, or have these two lines in nix.conf:\n"+
		"   extra-substituters = http://%s\n   extra-trusted-public-keys =%s", named, defaultListen, public)
}
