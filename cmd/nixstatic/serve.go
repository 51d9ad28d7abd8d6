package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/urfave/cli/v2"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/inbox"
	"github.com/nixstatic/nixstatic/layout/roots"
	"github.com/nixstatic/nixstatic/layout/uses"
	"github.com/nixstatic/nixstatic/webdav"
	"github.com/nixstatic/nixstatic/webdav/metrics"
	"github.com/nixstatic/nixstatic/webdav/through"
	"github.com/nixstatic/nixstatic/webdav/token"
)

func serveCommand() *cli.Command {
	return &cli.Command{
		Name:      "serve",
		Usage:     "serve a cache, and take uploads for it",
		ArgsUsage: "CACHE",
		Description: "Readers use the URL itself. A client with a token uploads with nothing but Nix, to\n" +
			"/upload: what arrives is checked, listed and signed before anyone sees it. The\n" +
			"cache has to be there: nixstatic init makes one. It may be in a bucket, and then have any number\n" +
			"of servers, on any number of machines.\n\n" +
			"Stopped by a signal, it finishes the uploads under way; a second signal ends it\n" +
			"at once. It takes sockets from systemd, and tells it how it is.\n\n" +
			"Examples:\n" +
			"   nixstatic init ./cache\n" +
			"   nixstatic token create --file tokens --name ci --scope upload --netrc 127.0.0.1 > netrc\n" +
			"   nixstatic serve ./cache --tokens tokens -k secret.key\n" +
			"   nix copy --to http://127.0.0.1:8080/upload --option netrc-file $PWD/netrc ./result\n\n" +
			"   nixstatic serve ./cache --read-only --listen :8080\n\n" +
			"   nixstatic serve ./cache --tokens tokens -k secret.key --listen :443 \\\n" +
			"      --tls-cert cert.pem --tls-key key.pem --upstream https://cache.nixos.org\n\n" +
			"   nixstatic serve ./cache --pull-through https://cache.nixos.org -k secret.key\n\n" +
			"   nixstatic serve 's3://bucket?endpoint=…' --tokens tokens -k secret.key --redirect presigned",
		Flags:  serveFlags(),
		Action: runServe,
	}
}

// A service is what serve is made of.
type service struct {
	log      *slog.Logger
	tree     *servedTree
	inbox    *inbox.Inbox    // nil: read-only
	roots    *roots.Recorder // likewise
	uses     *uses.Recorder  // likewise
	filler   *through.Filler // nil: nothing is fetched
	auth     *token.Auth
	metrics  *metrics.Metrics
	health   *metrics.Health
	handler  http.Handler
	cert     *certificate  // nil: no TLS
	pruning  *pruning      // nil: others do that
	page     *page         // nil: read-only
	signs    bool          // what is uploaded is signed here
	patience time.Duration // with uploads under way when it stops

	storeDir string
}

// memoryLimit is where garbage is collected as often as needed. It is not a bound:
// live objects may take more, such as the names of a folder with millions of files.
const memoryLimit = layout.DecoderMemory + 160<<20

// writeUses is how often what was read is written down.
const writeUses = 10 * time.Minute

func serverName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a server"
	}
	return host
}

func runServe(c *cli.Context) error {
	location, err := oneTree(c)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		// Live objects take a few megabytes, and those of requests are garbage at
		// once: collecting it less often costs little memory.
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// But for the windows of decompressors: those of the last uploads are not to
		// stay while the next have theirs.
		debug.SetMemoryLimit(memoryLimit)
	}
	log, err := newLogger(c)
	if err != nil {
		return err
	}
	listeners, metricsListener, err := openListeners(c)
	if err != nil {
		return err
	}
	defer closeAll(append(listeners, metricsListener))
	purge, err := readPurger(c)
	if err != nil {
		return err
	}
	if purge != nil && c.Bool("read-only") {
		return usage("--purge-hook and --read-only exclude each other: such a server changes nothing")
	}
	c.Context = context.WithValue(c.Context, purgerKey{}, purge)
	s, err := openService(c, location, log)
	if err != nil {
		return err
	}
	err = s.run(c, listeners, metricsListener)
	if s.filler != nil {
		s.filler.Close()
	}
	if s.inbox != nil {
		err = errors.Join(err, s.inbox.Close())
		s.roots.Close()
	}
	purge.tell(context.WithoutCancel(c.Context), log)
	return errors.Join(err, s.tree.close())
}

// run serves until the context of the command ends, with what has to be done
// meanwhile.
func (s *service) run(c *cli.Context, listeners []net.Listener, metricsListener net.Listener) error {
	ctx := c.Context
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wait sync.WaitGroup
	defer wait.Wait()
	defer stop()
	wait.Go(func() { keepWatchdog(background, s.log) })
	wait.Go(func() { s.keepSettling(background) })
	wait.Go(func() { s.tellUnsigned(background, s.storeDir) })
	wait.Go(func() { s.pruning.keepPruning(background) })
	wait.Go(func() { purgerOf(c).keepTelling(background, s.log) })
	wait.Go(func() { s.page.keepCurrent(background, s) })
	if s.auth.Tokens != nil {
		wait.Go(func() { s.auth.Tokens.KeepUsed(background) })
	}
	if s.uses != nil {
		wait.Go(func() {
			s.uses.Keep(background, writeUses, func(err error) { s.log.Warn("the paths that were read cannot be written down", "err", err) })
		})
	}
	if metricsListener != nil {
		wait.Go(func() {
			s.metrics.KeepCounting(background, s.tree.Tree, s.tree.countEvery, func(err error) { s.log.Warn("metrics", "err", err) })
		})
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.health.Before(s.metrics.Handler()))
		mux.Handle("GET /healthz", s.health)
		mux.HandleFunc("GET /healthz/uploads", s.health.Uploads)
		side := &server{handler: mux, log: s.log, most: spareFiles / 4}
		wait.Go(func() {
			if err := side.serve(background, metricsListener); err != nil {
				s.log.Error("metrics", "err", err)
			}
		})
	}
	front := &server{handler: s.handler, log: s.log, patience: s.patience}
	if s.cert != nil {
		front.tls = s.cert.config()
	}
	s.greet(c, listeners, metricsListener)
	notify(s.log, daemon.SdNotifyReady)
	wait.Go(func() {
		select {
		case <-ctx.Done():
			s.log.Info("stopping: uploads under way are finished", "timeout", s.patience)
			notify(s.log, daemon.SdNotifyStopping)
		case <-background.Done():
		}
	})
	return front.serve(ctx, listeners...)
}

// keepSettling looks now and then for what held narinfos wait for: another
// process may have brought it.
func (s *service) keepSettling(ctx context.Context) {
	if s.inbox == nil {
		return
	}
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			err := s.inbox.Settle(ctx)
			s.metrics.Held(s.inbox.Waiting())
			if err != nil && ctx.Err() == nil {
				s.log.Warn("what is held cannot be settled", "err", err)
			}
		}
	}
}

// openListeners opens the addresses that the flags name, or takes what systemd
// has opened. Addresses come first of all: one that is taken should cost
// nothing else.
func openListeners(c *cli.Context) (listeners []net.Listener, metrics net.Listener, err error) {
	listeners, metrics, err = inherited()
	defer func() {
		if err != nil {
			closeAll(append(listeners, metrics))
		}
	}()
	if err != nil {
		return listeners, metrics, err
	}
	addresses := c.StringSlice("listen")
	if len(addresses) == 0 && len(listeners) == 0 {
		addresses = []string{defaultListen}
	}
	for _, address := range addresses {
		l, err := listen(address)
		if err != nil {
			return listeners, metrics, err
		}
		listeners = append(listeners, l)
	}
	if address := c.String("metrics-listen"); address != "" && metrics == nil {
		metrics, err = listen(address)
	}
	return listeners, metrics, err
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		if l != nil {
			l.Close() // a second time, mostly, which does nothing
		}
	}
}

// uploaders says who may upload.
func uploaders(auth *token.Auth) string {
	if auth.AnonymousUpload {
		return "everyone"
	}
	var who []string
	if auth.Tokens != nil {
		who = auth.Tokens.Holders(webdav.Upload)
	}
	if auth.Exchange != nil {
		who = append(who, auth.Exchange.Uploaders...)
	}
	if len(who) == 0 {
		return "no client"
	}
	return strings.Join(who, " ")
}

// tellWhoIsSigned tells who can make this server sign what. Its key vouches for
// what it signs to everyone who trusts it.
func (s *service) tellWhoIsSigned(c *cli.Context) {
	what := "whatever they send: who is first has the path; see --require-signature"
	if c.Bool("require-signature") {
		what = "what a trusted key has signed, or its content proves"
	}
	more := []any{"uploaders", uploaders(s.auth), "what", what}
	if s.filler != nil {
		more = append(more, "readers", "what an upstream of --pull-through has signed")
	}
	s.log.Info("who can make this server sign", more...)
}

// greet tells what is served where, and what is likely not meant.
func (s *service) greet(c *cli.Context, listeners []net.Listener, metricsListener net.Listener) {
	local := true
	for _, l := range listeners {
		fmt.Fprintln(c.App.Writer, urlOf(l, s.cert != nil))
		s.log.Info("serving", "cache", s.tree.name, "url", urlOf(l, s.cert != nil), "uploads", s.inbox != nil)
		local = local && isLoopback(l.Addr())
	}
	if metricsListener != nil {
		s.log.Info("metrics and health", "url", urlOf(metricsListener, false))
	}
	if s.inbox == nil {
		return
	}
	prefix := uploadPrefix(c)
	if prefix == "/" {
		s.log.Warn("readers and uploading clients share one URL: a Nix that uploads remembers its own unsigned narinfos for 30 days, and then refuses what it reads here; leave --upload-prefix out unless you know that nobody does both")
	}
	if s.auth.AnonymousUpload {
		s.log.Warn("everyone who reaches this server may upload (--anonymous-upload)")
	}
	if s.signs {
		s.tellWhoIsSigned(c)
	} else {
		s.log.Warn("nothing that is uploaded is signed here, so that readers have to trust the keys of the uploading clients: give --secret-key-file; nixstatic key generate makes one")
	}
	for _, l := range listeners {
		if !isLoopback(l.Addr()) && s.cert == nil && s.auth.Tokens != nil {
			s.log.Warn("tokens cross the network in plain text: give --tls-cert and --tls-key, or let a web server with TLS stand before", "listen", l.Addr().String())
		}
	}
	if s.auth.Tokens != nil && s.auth.Tokens.Len() > 0 || s.auth.AnonymousUpload || s.auth.Exchange != nil {
		return
	}
	if s.filler != nil { // nor does any have to
		s.log.Info("no client may upload, and the cache is filled from upstreams as clients read: for uploads see --tokens")
		return
	}
	s.log.Warn("no client may upload: there is no token, see --tokens")
	if !local || c.String("log-format") != "text" || len(listeners) == 0 {
		return
	}
	file, restart := c.String("tokens"), ""
	if file == "" {
		file = "tokens"
		restart = fmt.Sprintf("   nixstatic serve %s --tokens tokens          # instead of this one\n", c.Args().First())
	}
	at := urlOf(listeners[0], s.cert != nil)
	host := "127.0.0.1"
	if u, err := url.Parse(at); err == nil {
		host = u.Hostname()
	}
	fmt.Fprintf(c.App.ErrWriter, "\nTo upload from here:\n\n   nixstatic token create --file %s --name me --scope upload --netrc %s > netrc\n%s   nix copy --to %s%s --option netrc-file $PWD/netrc ./result\n\n",
		file, host, restart, at, strings.TrimSuffix(prefix, "/"))
}
