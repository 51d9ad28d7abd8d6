package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/pages"
	"github.com/nixstatic/nixstatic/layout/roots"
	"github.com/nixstatic/nixstatic/layout/share"
	"github.com/nixstatic/nixstatic/layout/uses"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/metrics"
	"github.com/nixstatic/nixstatic/webdav/token"
	"github.com/nixstatic/nixstatic/webdav/upstream"
)

const (
	defaultListen = "127.0.0.1:8080"
	// sharedLook is short beside the time that a program takes to start after another has
	// changed the cache.
	sharedLook = 5 * time.Millisecond
	// maxWait is how long an upload waits for memory. A Nix gives up after five
	// minutes without an answer.
	maxWait = 4 * time.Minute
)

func serveFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringSliceFlag{Name: "listen", Aliases: []string{"l"}, Usage: "serve on `ADDRESS`, host:port or unix:/path; may be repeated (default: " + defaultListen + ", or what systemd opened)"},
		&cli.StringFlag{Name: "tls-cert", Usage: "serve HTTPS with the certificate in `FILE`, read again when it changes"},
		&cli.StringFlag{Name: "tls-key", Usage: "its key is in `FILE`"},

		&cli.BoolFlag{Name: "read-only", Usage: "take no uploads"},
		&cli.StringFlag{Name: "redirect", Usage: "send readers of NARs to the store of a bucket: presigned, or the public `URL` of the same cache"},
		&cli.StringFlag{Name: "upload-prefix", Value: "/upload/", Usage: "uploads go to `PATH` of the URL"},
		&cli.StringFlag{Name: "tokens", Usage: "the tokens in `FILE` say who may; nixstatic token makes them"},
		&cli.StringSliceFlag{Name: "oidc", Usage: "let clients in that show an ID token which fits `RULE`: issuer=URL,audience=TEXT,claim:NAME=PATTERN,scope=SCOPE[,root=PATTERN][,ttl=TIME]; may be repeated, see docs/ci.md"},
		&cli.BoolFlag{Name: "private", Usage: "reading needs a token as well"},
		&cli.BoolFlag{Name: "unlisted", Usage: "let only those who may upload list the cache (PROPFIND) or search it; --private does so too, unless --unlisted=false"},
		&cli.BoolFlag{Name: "anonymous-upload", Usage: "everyone who reaches the server may upload"},
		&cli.StringSliceFlag{Name: "trusted-proxy", Usage: "believe X-Forwarded-For of `CIDR`, an address, a range or unix; may be repeated"},

		keyFlagFor("sign with the key in `FILE` whatever those send who may upload, unless --require-signature"),
		&cli.StringFlag{Name: "store-dir", Value: layout.DefaultStoreDir, Usage: "refuse a cache that is for another store `DIRECTORY`"},
		trustedKeysFlag("a signature by `KEY` (name:base64) has to be good; may be repeated"),
		&cli.BoolFlag{Name: "require-signature", Usage: "sign and take only paths that a trusted key has signed, or whose content proves them"},
		&cli.StringSliceFlag{Name: "upstream", Usage: "the binary cache at `URL` provides its paths: they need not be uploaded; may be repeated"},
		&cli.StringSliceFlag{Name: "upstream-key", Usage: "`KEY` of the upstream of the same place in the order (not needed for https://cache.nixos.org)"},
	}
	flags = append(flags, throughFlags()...)
	flags = append(flags, []cli.Flag{
		&cli.StringFlag{Name: "max-nar-size", Value: "64GiB", Usage: "refuse NARs that decompress to more than `SIZE`"},
		&cli.StringFlag{Name: "max-body", Usage: "refuse NAR files of more than `SIZE` (default: what the disk takes)"},
		&cli.StringFlag{Name: "min-free", Usage: "refuse uploads that leave less than `SIZE` of a directory's disk, in bytes or % (default: 1GiB, or 2% of a small disk)"},
		&cli.IntFlag{Name: "max-uploads", Value: 32, Usage: "take `N` NARs and logs at the same time, from one client half of them; others wait"},

		&cli.StringFlag{Name: "metrics-listen", Usage: "serve /metrics (Prometheus), /healthz for readers and /healthz/uploads on `ADDRESS`"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "`FORMAT` of the log: text or json"},
		&cli.StringFlag{Name: "log-level", Value: "info", Usage: "`LEVEL` of the log: debug shows each request, info, warn, error"},
		&cli.StringFlag{Name: "shutdown-timeout", Value: "1m", Usage: "when stopped, cut off what is not finished after `DURATION`"},

		&cli.StringFlag{Name: "gc", Usage: "prune the cache at `SCHEDULE`: a time of day such as 03:30, or every so often, such as 6h; see nixstatic gc --help"},
		&cli.BoolFlag{Name: "no-pins", Usage: "with --gc: the cache has no pins and is meant to, as one that --pull-through fills: only what is young or was read stays"},
	}...)
	return append(flags, keepFlags()...)
}

// discreetAttr takes secrets out of what is logged.
func discreetAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(discreet(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(discreet(err.Error()))
		}
	}
	return a
}

func newLogger(c *cli.Context) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, usage("--log-level %s: choose one of debug, info, warn, error", c.String("log-level"))
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: discreetAttr}
	switch c.String("log-format") {
	case "text":
		return slog.New(slog.NewTextHandler(c.App.ErrWriter, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(c.App.ErrWriter, options)), nil
	}
	return nil, usage("--log-format %s: choose text or json", c.String("log-format"))
}

// openService makes what the flags ask for. Mistakes in them are found before
// anything is written.
func openService(c *cli.Context, location string, log *slog.Logger) (_ *service, err error) {
	s := &service{log: log, metrics: metrics.New(version())}
	if _, err := locate(c, location, serveTree); err != nil {
		return nil, err
	}
	policy, err := readPolicy(c)
	if err != nil {
		return nil, err
	}
	if s.patience, err = durationFlag(c, "shutdown-timeout"); err != nil {
		return nil, err
	}
	if s.auth, err = openAuth(c, log); err != nil {
		return nil, err
	}
	if s.cert, err = openCertificate(c, log); err != nil {
		return nil, err
	}
	keys, err := loadKeys(c)
	if err != nil {
		return nil, err
	}
	s.signs = len(keys) > 0
	upstreams, err := readUpstreams(c)
	if err != nil {
		return nil, err
	}
	pulls, err := readPulling(c, log)
	if err != nil {
		return nil, err
	}
	if s.tree, err = openServed(c, location, log); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.tree.close()
		}
	}()
	if s.pruning, err = readPruning(c, s.tree.Tree, location, s.metrics, log); err != nil {
		return nil, err
	}
	info, err := s.cacheInfo(c, location)
	if err != nil {
		return nil, err
	}
	s.storeDir = info.StoreDir
	if s.pruning != nil {
		s.pruning.storeDir = info.StoreDir
	}
	s.health = &metrics.Health{Tree: s.tree.reading, Metrics: s.metrics}
	config := webdav.Config{Tree: s.tree.reading, StoreDir: info.StoreDir, Fresh: sharedLook, UploadPrefix: uploadPrefix(c), Redirect: s.tree.redirect,
		Metrics: s.metrics, Log: log}
	config.Auth, config.MaxUploads = s.auth, c.Int("max-uploads")
	config.Unlisted = c.Bool("unlisted") || c.Bool("private") && !c.IsSet("unlisted")
	if !c.Bool("read-only") {
		if err := checkWritable(c, s.tree.Tree, location); err != nil {
			return nil, err
		}
		if err := s.takeUploads(c, policy, keys, &config, upstreams, pulls); err != nil {
			return nil, err
		}
	}
	if s.uses != nil {
		config.Uses = s.uses
	}
	s.handler = realClient(s.auth, s.auth.Handler(uploadPrefix(c), webdav.New(config)))
	return s, nil
}

// checkWritable looks that uploads may come to a tree, and that it can hold them, so that
// the operator is told before one comes.
func checkWritable(c *cli.Context, tree layout.Tree, location string) error {
	if _, err := layout.Look(c.Context, tree); errors.Is(err, layout.ErrClosed) {
		return withHint(err, "serve it with --read-only, and take uploads to the cache that it is a copy of; or, if no sync --delete runs to this one any more, open it: nixstatic gc --open '%s'", location)
	} else if err != nil {
		return err
	}
	file, err := layout.SpoolFor(tree, "").Create()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return withHint(fmt.Errorf("write to %s: %w", location, err), "serve it with --read-only; or, to take uploads, run the server as a user who may write there, on a file system that is mounted for writing")
	}
	if err != nil {
		return err
	}
	file.Discard()
	return nil
}

// takeUploads adds to the service what all that writes needs: uploads, what comes through
// from upstreams, roots, pins, and the account of what was read.
func (s *service) takeUploads(c *cli.Context, policy *inbox.Config, keys []signer.SecretKey, config *webdav.Config, upstreams []upstream.Cache, pulls *pulling) (err error) {
	if policy.MinFree, err = parseMinFree(c.String("min-free"), s.tree.volume); err != nil {
		return usage("--min-free: %v", err)
	}
	policy.Decoding = share.NewPool(layout.DecoderMemory, maxWait)
	policy.Turns = layout.NewTurns(maxWait)
	config.Decoding, config.Turns = policy.Decoding, policy.Turns
	policy.FreeSpace, policy.Log = s.tree.volume.free, s.log
	s.health.FreeSpace, s.health.MinFree = policy.FreeSpace, policy.MinFree
	s.page = newPage(s.tree.Tree, s.storeDir)
	s.page.keys = pages.KeysOf(keys)
	policy.Writer = &layout.Writer{Tree: s.tree.Tree, StoreDir: s.storeDir, Keys: keys, Published: s.page.published}
	var provides upstream.Any
	if len(upstreams) > 0 {
		up, err := upstream.Open(c.Context, upstream.Config{Tree: s.tree.Tree, StoreDir: s.storeDir, Caches: upstreams, Log: s.log})
		if err != nil {
			return err
		}
		provides = append(provides, up)
	}
	if pulls != nil {
		if err := pulls.open(c, policy); err != nil {
			return err
		}
		provides = append(provides, pulls.ups)
	}
	if len(provides) > 0 {
		policy.Provided, config.Upstream = provides.Provided, provides
	}
	policy.MaxFiles = keptFiles(openFiles())
	if s.inbox, err = inbox.Open(c.Context, *policy); err != nil {
		return err
	}
	config.Inbox = s.inbox
	if pulls != nil {
		s.filler = pulls.filler(s, policy, keys)
		config.Through, config.Name = s.filler, pulls.name
	}
	s.uses = uses.NewRecorder(s.tree.Tree, serverName())
	s.roots = roots.NewRecorder(s.tree.Tree)
	config.Roots = s.roots
	config.Pins = pinner{s.tree.Tree}
	return nil
}

// cacheInfo returns what the cache is for. A server does not make one: at a mistyped
// path it would serve an empty cache, and the operator would not know.
func (s *service) cacheInfo(c *cli.Context, location string) (layout.CacheInfo, error) {
	if err := layout.CheckStoreDir(c.String("store-dir")); err != nil {
		return layout.CacheInfo{}, usage("--store-dir: %v", err)
	}
	have, err := layout.ReadCacheInfo(c.Context, s.tree.Tree)
	switch {
	case err == nil && c.IsSet("store-dir") && have.StoreDir != c.String("store-dir"):
		return have, fmt.Errorf("the cache is for the store directory %s, not %s", have.StoreDir, c.String("store-dir"))
	case errors.Is(err, layout.ErrBroken):
		return have, withHint(err, "nixstatic init %s writes it anew", quoted(withoutUser(location)))
	case errors.Is(err, fs.ErrNotExist):
		return have, noCache(c, location)
	}
	return have, err
}

// readPolicy reads what may be uploaded.
func readPolicy(c *cli.Context) (*inbox.Config, error) {
	var policy inbox.Config
	var err error
	if c.Int("max-uploads") < 1 {
		return nil, usage("--max-uploads %d: want 1 at least", c.Int("max-uploads"))
	}
	if policy.Trusted, err = signer.ParseTrusted(c.StringSlice("trusted-public-key")...); err != nil {
		return nil, usage("--trusted-public-key: %v", err)
	}
	policy.RequireSignature = c.Bool("require-signature")
	if policy.RequireSignature && len(policy.Trusted) == 0 {
		return nil, usage("--require-signature needs at least one --trusted-public-key")
	}
	switch policy.MaxNarSize, err = gc.ParseSize(c.String("max-nar-size")); {
	case err != nil:
		return nil, usage("--max-nar-size: %v", err)
	case policy.MaxNarSize == 0:
		return nil, usage("--max-nar-size 0 would refuse every path")
	}
	if c.IsSet("max-body") {
		if policy.MaxFile, err = gc.ParseSize(c.String("max-body")); err != nil {
			return nil, usage("--max-body: %v", err)
		}
	}
	if _, err := parseMinFree(c.String("min-free"), disk{"/"}); err != nil {
		return nil, usage("--min-free: %v", err)
	}
	if prefix := uploadPrefix(c); strings.ContainsAny(prefix, "?#%\\ ") || strings.Contains(prefix, "//") || strings.Contains(prefix, "/.") {
		return nil, usage("--upload-prefix %q: want the path of a URL, such as /upload/", c.String("upload-prefix"))
	} else if top, _, _ := strings.Cut(strings.Trim(prefix, "/"), "/"); slices.Contains(layout.PublicFolders, top) ||
		top != "" && layout.Key(top).Kind() != layout.KindForeign {
		return nil, usage("--upload-prefix %q hides what readers find at /%s: choose another path, such as /upload/", c.String("upload-prefix"), top)
	}
	return &policy, nil
}

func uploadPrefix(c *cli.Context) string {
	if inner := strings.Trim(c.String("upload-prefix"), "/"); inner != "" {
		return "/" + inner + "/"
	}
	return "/"
}

func openAuth(c *cli.Context, log *slog.Logger) (*token.Auth, error) {
	auth := &token.Auth{Private: c.Bool("private"), AnonymousUpload: c.Bool("anonymous-upload"), Log: log}
	for _, text := range c.StringSlice("trusted-proxy") {
		if text == "unix" {
			auth.TrustLocal = true
			continue
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				return nil, usage("--trusted-proxy %q: want an address such as 10.0.0.1, a range such as 10.0.0.0/8, or unix", text)
			}
			prefix = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())
		}
		auth.TrustedProxies = append(auth.TrustedProxies, prefix.Masked())
	}
	if auth.Private && c.String("tokens") == "" && len(c.StringSlice("oidc")) == 0 {
		return nil, usage("--private needs --tokens: without tokens no client could read")
	}
	if err := openExchange(c, auth); err != nil {
		return nil, err
	}
	if file := c.String("tokens"); file != "" {
		var err error
		if auth.Tokens, err = token.OpenFile(file, log); err != nil {
			return nil, fmt.Errorf("open tokens: %w", err)
		}
	}
	return auth, nil
}

func openCertificate(c *cli.Context, log *slog.Logger) (*certificate, error) {
	cert, key := c.String("tls-cert"), c.String("tls-key")
	if cert == "" && key == "" {
		return nil, nil
	}
	if cert == "" || key == "" {
		return nil, usage("--tls-cert and --tls-key belong together")
	}
	return loadCertificate(cert, key, log)
}
