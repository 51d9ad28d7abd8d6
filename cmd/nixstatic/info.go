package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/seek"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/httpcache"
)

func infoCommand() *cli.Command {
	return &cli.Command{
		Name:      "info",
		Usage:     "tell what a cache says of a store path, and what it costs to fetch",
		ArgsUsage: "CACHE PATH",
		Description: "CACHE is a directory, s3://… or https://…, ours or another. PATH is a store path, its\n" +
			"<hash>-<name>, the hash alone, or a name that only one path has.\n\n" +
			"Shows the narinfo; the closure with its sizes, and what of it is neither in the cache nor,\n" +
			"where this machine has a store, in that; and for each signature whether it is good, by\n" +
			"the keys that are given. A key that is not given can vouch for nothing.\n\n" +
			"Examples:\n" +
			"   nixstatic info ./cache hello-2.12\n" +
			"   nixstatic info https://cache.nixos.org 63l345l7dgcfz789w1y93j1540czafqh \\\n" +
			"      --trusted-public-key cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\n" +
			"   nixstatic info --json s3://cache ./result | jq .closure",
		Flags: []cli.Flag{
			trustedKeysFlag("check signatures by `KEY` (name:base64); may be repeated"),
			&cli.BoolFlag{Name: "no-closure", Usage: "the path alone"},
			&cli.StringFlag{Name: "netrc-file", Usage: "user names and passwords are in `FILE` instead of ~/.netrc"},
			jsonFlag(), quietFlag(),
		},
		Action: runInfo,
	}
}

// infoResult is what --json prints. Sizes are in bytes.
type infoResult struct {
	Version     int             `json:"version"`
	StorePath   string          `json:"storePath"`
	URL         string          `json:"url"` // of the NAR, as the record has it, without a password
	Compression string          `json:"compression"`
	FileHash    string          `json:"fileHash,omitempty"`
	FileSize    int64           `json:"fileSize,omitempty"`
	NarHash     string          `json:"narHash"`
	NarSize     int64           `json:"narSize"`
	References  []string        `json:"references"`
	Deriver     string          `json:"deriver,omitempty"`
	CA          string          `json:"ca,omitempty"`
	Provenance  string          `json:"provenance,omitempty"` // as the record has it, which nothing proves
	Signatures  []infoSignature `json:"signatures"`
	Listing     bool            `json:"listing"` // there is one that can be used
	Parts       int             `json:"parts"`   // of the NAR that can be read by themselves
	Closure     *infoClosure    `json:"closure,omitempty"`
}

type infoSignature struct {
	Key   string `json:"key"`
	State string `json:"state"` // good, bad, or unknown: no key of that name was given
}

type infoClosure struct {
	Paths    int      `json:"paths"`
	NarSize  int64    `json:"narSize"`
	FileSize int64    `json:"fileSize"`
	Missing  []string `json:"missing"` // referred to, and not in the cache
	// Fetch is what is not in the store of this machine yet; without a store, all.
	Fetch infoFetch `json:"fetch"`
}

type infoFetch struct {
	Paths    int   `json:"paths"`
	NarSize  int64 `json:"narSize"`
	FileSize int64 `json:"fileSize"`
}

func runInfo(c *cli.Context) error {
	trusted, err := trustedKeys(c)
	if err != nil {
		return err
	}
	cache, n, inside, err := lookAt(c)
	if err != nil {
		return err
	}
	defer cache.Close()
	if inside = strings.Join(seek.Split(inside), "/"); inside != "" {
		return withHint(usage("info is about store paths, and %s is in one", shown(inside)),
			"nixstatic ls -l %s %s tells about a file", cache.text, inPath(n.Path.Hash(), inside))
	}
	r := infoResult{Version: 1, StorePath: n.Path.Abs(cache.storeDir), URL: httpcache.RedactRef(n.URL), Compression: string(n.Compression),
		FileSize: n.FileSize, NarHash: n.NarHash.String(), NarSize: n.NarSize, CA: n.CA, References: []string{}, Signatures: []infoSignature{}}
	if !n.FileHash.IsZero() {
		r.FileHash = n.FileHash.String()
	}
	for _, line := range n.Extra {
		if text, ok := strings.CutPrefix(line, "Provenance: "); ok {
			r.Provenance = text
		}
	}
	if n.Deriver != "" {
		r.Deriver = n.Deriver.Abs(cache.storeDir)
	}
	for _, ref := range n.References {
		r.References = append(r.References, ref.Abs(cache.storeDir))
	}
	for _, sig := range n.Sigs {
		r.Signatures = append(r.Signatures, checkSignature(trusted, n, cache.storeDir, sig))
	}
	a, err := openArchive(c.Context, cache, n)
	if err != nil {
		return err
	}
	r.Listing, r.Parts = a.Unlisted == nil, a.Parts()
	if !c.Bool("no-closure") {
		if r.Closure, err = closureInfo(c, cache, n); err != nil {
			return err
		}
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, r)
	}
	return printInfo(c, r)
}

// checkSignature tells what the given keys say of one signature.
func checkSignature(trusted signer.Trusted, n *layout.NarInfo, storeDir, sig string) infoSignature {
	name, _, _ := strings.Cut(sig, ":")
	good, bad := trusted.Check([]string{sig}, n.Fingerprint(storeDir))
	switch {
	case good:
		return infoSignature{name, "good"}
	case bad != "":
		return infoSignature{name, "bad"}
	}
	return infoSignature{name, "unknown"}
}

func closureInfo(c *cli.Context, cache *looked, n *layout.NarInfo) (*infoClosure, error) {
	var seen atomic.Int64
	m := startMeter(c.App.ErrWriter, c.Bool("quiet"), func(time.Duration) string {
		return fmt.Sprintf("info: %s of the closure so far", plural(seen.Load(), "path"))
	})
	defer m.end()
	walked, err := seek.WalkClosure(c.Context, cache, n, cache.storeDir, httpcache.OpenConnections, &seen)
	if errors.Is(err, seek.ErrEndless) {
		return nil, withHint(err, "--no-closure leaves it out; the cache is broken or hostile")
	}
	if err != nil {
		return nil, err
	}
	out := &infoClosure{Paths: len(walked.Paths), Missing: []string{}}
	for _, p := range walked.Paths {
		size := p.FileSize
		if size == 0 {
			size = p.NarSize // what the record does not tell is not less, as a rule
		}
		out.NarSize += p.NarSize
		out.FileSize += size
		if _, err := os.Lstat(filepath.FromSlash(p.Path.Abs(cache.storeDir))); err != nil {
			out.Fetch.Paths++
			out.Fetch.NarSize += p.NarSize
			out.Fetch.FileSize += size
		}
	}
	for _, p := range walked.Missing {
		out.Missing = append(out.Missing, p.Abs(cache.storeDir))
	}
	return out, nil
}

func printInfo(c *cli.Context, r infoResult) error {
	var b strings.Builder
	line := func(label, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s %s\n", label, fmt.Sprintf(format, args...))
	}
	line("path", "%s", r.StorePath)
	file := "of unknown size"
	if r.FileSize > 0 {
		file = bytesize(r.FileSize)
	}
	line("nar", "%s, %s as a file (%s): %s", bytesize(r.NarSize), file, shown(r.Compression), shown(r.URL))
	line("hash", "%s", r.NarHash)
	switch {
	case !r.Listing:
		line("listing", "none that can be used: single files cost the whole NAR")
	case r.Parts > 1:
		line("listing", "the NAR is in %d parts, from which single files can be read", r.Parts)
	default:
		line("listing", "there is one")
	}
	if r.Deriver != "" {
		line("deriver", "%s", r.Deriver)
	}
	if r.CA != "" {
		line("ca", "%s", shown(r.CA))
	}
	if r.Provenance != "" {
		line("provenance", "%s (which signatures do not cover)", shown(r.Provenance))
	}
	for _, s := range r.Signatures {
		line("signature", "%s: %s", shown(s.Key), map[string]string{
			"good": "good", "bad": "BAD: the key of that name did not sign this narinfo", "unknown": "by a key that was not given"}[s.State])
	}
	if len(r.Signatures) == 0 {
		line("signature", "none")
	}
	for i, ref := range r.References {
		if label := "references"; i == 0 {
			line(label, "%s", ref)
		} else {
			line("", "%s", ref)
		}
	}
	if r.Closure != nil {
		line("closure", "%s, %s, %s as files", plural(int64(r.Closure.Paths), "path"), bytesize(r.Closure.NarSize), bytesize(r.Closure.FileSize))
		line("to fetch", "%s, %s to download, %s unpacked", plural(int64(r.Closure.Fetch.Paths), "path"), bytesize(r.Closure.Fetch.FileSize), bytesize(r.Closure.Fetch.NarSize))
		for _, p := range r.Closure.Missing {
			line("not here", "%s, which the closure needs from another cache", p)
		}
	}
	_, err := fmt.Fprint(c.App.Writer, b.String())
	return err
}
