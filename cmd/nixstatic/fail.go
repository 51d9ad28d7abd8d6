package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
	"github.com/nixstatic/nixstatic/layout/lock"
	"github.com/nixstatic/nixstatic/layout/nar"
	"github.com/nixstatic/nixstatic/sync/export"
	"github.com/nixstatic/nixstatic/sync/httpcache"
	"github.com/nixstatic/nixstatic/sync/mirror"
	"github.com/nixstatic/nixstatic/sync/s3"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitProblems    = 3 // verify looked, and found something; gc why, and found nothing
	exitOver        = 4 // what is pinned is larger than the policy allows
	exitInterrupted = 130
)

// A usageError is a mistake in the command line.
type usageError struct {
	msg     string
	command string // such as "nixstatic gc why"; "" where it is not known
}

func (e *usageError) Error() string { return e.msg }

func usage(format string, args ...any) error { return &usageError{msg: fmt.Sprintf(format, args...)} }

// A hinted error knows better than hintFor what to do about it.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

func withHint(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// errProblems ends a verify that found something and has said so already.
var errProblems = errors.New("the cache has problems")

// errUnwell ends a doctor that found a failure and has said so already.
var errUnwell = errors.New("something keeps Nix from using the cache")

// A commandFailed is the exit code of a command that was run for the user. A command that
// could not be started has not said why.
type commandFailed struct {
	code int
	why  error // nil: it has
}

func (e *commandFailed) Error() string {
	if e.why != nil {
		return e.why.Error()
	}
	return fmt.Sprintf("exit code %d", e.code)
}

func (e *commandFailed) Unwrap() error { return e.why }

// fail words an error and returns the exit code: the one place that does. None of
// the secrets is shown.
func fail(ctx context.Context, stderr io.Writer, err error, secrets ...string) int {
	printable := func(s string) string {
		for _, secret := range secrets {
			s = strings.ReplaceAll(s, secret, "")
		}
		return printable(s)
	}
	if err == nil {
		return 0
	}
	if errors.Is(err, errProblems) {
		return exitProblems
	}
	if errors.Is(err, errUnwell) {
		return exitFailed
	}
	failed := (*commandFailed)(nil)
	if errors.As(err, &failed) && failed.why == nil {
		return failed.code
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "nixstatic: error: interrupted")
		fmt.Fprintln(stderr, "nixstatic: hint: what was finished is in the cache; run the command again to go on")
		return exitInterrupted
	}
	fmt.Fprintf(stderr, "nixstatic: error: %s\n", printable(err.Error()))
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(stderr, "nixstatic: hint: %s\n", printable(hint))
	}
	if failed != nil {
		return failed.code
	}
	if u := (*usageError)(nil); errors.As(err, &u) {
		return exitUsage
	}
	if errors.As(err, new(*gc.OverError)) {
		return exitOver
	}
	return exitFailed
}

// hintFor tells what to do about an error.
func hintFor(err error) string {
	var (
		hint       *hinted
		incomplete *mirror.IncompleteError
		wrong      *usageError
		untrusted  *export.UntrustedError
		reference  *export.MissingReferenceError
		mismatch   *layout.HashMismatch
		syntax     *nar.SyntaxError
		held       *lock.HeldError
		link       *layout.LinkError
		locking    *lock.DirError
	)
	switch {
	case errors.As(err, &hint):
		return hint.hint
	case errors.As(err, new(*occupiedError)):
		return "name a folder that is empty or not there yet; if this is meant to be a cache nevertheless, nixstatic init makes it one"
	case errors.As(err, &held):
		return "wait until it is done, and run the command again; nothing was changed"
	case storeHint(err) != "":
		return storeHint(err)
	case errors.Is(err, gc.ErrPruned):
		return "leave out --delete, or mirror to another place; nothing was changed"
	case errors.Is(err, layout.ErrClosed):
		return "write to the cache that it is a copy of; or, if no sync --delete runs to this one any more, open it: nixstatic gc --open CACHE"
	case errors.Is(err, layout.ErrRemoved):
		return "a garbage collection was faster, again and again: run the command once more"
	case errors.As(err, &incomplete):
		return "nixstatic verify --deep finds out what is wrong with the source; all else was mirrored"
	case errors.Is(err, mirror.ErrNoSource):
		return "check the path, and whether its disk is mounted; nothing was changed"
	case errors.Is(err, layout.ErrNotListable):
		return "leave out --delete, or name a directory or a bucket"
	case errors.Is(err, s3.ErrNoBucket):
		return "make the bucket, or check its name and the endpoint"
	case errors.As(err, &wrong):
		return helpHint(wrong.command)
	case errors.As(err, &untrusted):
		return "name the key with --trusted-public-key NAME:BASE64, or take the cache's word with --no-check-sigs"
	case errors.Is(err, export.ErrEndless):
		return "the source is broken or hostile: do not use it; nothing was written"
	case errors.As(err, &reference):
		return "leave out --no-closure, or export " + string(reference.Reference) + " first"
	case errors.As(err, &mismatch):
		return "the source is damaged: nix store verify finds out on the machine it comes from; nothing of this path was written"
	case errors.As(err, &syntax):
		return "the NAR is damaged or was not made by Nix; nothing of this path was written"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room and run the command again: what was finished is in the cache"
	case errors.Is(err, s3.ErrClock):
		return "set the clock of this machine, as with timedatectl set-ntp true; nothing is wrong with the credentials"
	case errors.Is(err, s3.ErrUnsigned):
		return "give credentials as for the AWS tools: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
	case errors.Is(err, s3.ErrCredentials):
		return "the credentials are wrong, or have run out: get new ones, or name a profile with a credential_process, which renews them by itself; what was finished is in the cache"
	case errors.Is(err, s3.ErrDenied):
		return "the credentials are good, and not allowed to do this: docs/buckets.md lists the rights that are needed"
	case errors.Is(err, httpcache.ErrReading):
		return "this URL is for reading: name the one for uploads, which of nixstatic serve ends in /upload; another server has to be told to take PUT; nothing was changed"
	case errors.Is(err, httpcache.ErrQuota):
		return "ask for more room, or for larger uploads, where the server or the proxy before it is set up; what was finished is at the destination"
	case errors.Is(err, httpcache.ErrRefused) && strings.Contains(err.Error(), "not for admin"):
		return "pages for browsers need a token with the scope admin: make one there with nixstatic token create --scope admin; what was finished is at the destination"
	case errors.Is(err, httpcache.ErrRefused):
		return "check the user name and the password, which are in ~/.netrc, and what the server lets them do"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "the server speaks plain HTTP: write http:// instead of https://"
	case errors.Is(err, httpcache.ErrHTTPS):
		return "write https:// instead of http://"
	case certificateHint(err) != "":
		return certificateHint(err)
	case unreachable(err):
		return "check the address, and whether the server runs and can be reached from here; what was finished is kept"
	case errors.As(err, &link):
		return linkHint(link)
	case errors.As(err, new(*layout.UnableError)), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENOTSUP):
		return "docs/file-systems.md tells what a cache needs of its file system; keep the cache on another one, or mount this one so that it can do this"
	case errors.Is(err, syscall.ENAMETOOLONG):
		return "the file system takes no names that long; keep the cache on another one"
	case errors.Is(err, layout.ErrNotDirectory):
		return "a cache is a directory, and this is a file: check the path"
	case errors.As(err, &locking) && errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("this command changes the cache, and locks it meanwhile: run it as the user whose files those in %s are, or let this one write there", locking.Path)
	case errors.Is(err, fs.ErrPermission):
		return "check who owns the file, and run the command as a user who may"
	case errors.Is(err, syscall.EROFS):
		return "the file system is mounted read-only: mount it for writing, or run the command on the machine that may write to it"
	}
	return ""
}

// certificateHint tells what to do about a server that is not believed to be the
// one that was asked for.
func certificateHint(err error) string {
	var (
		roots   *httpcache.RootsError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
	)
	switch {
	case errors.As(err, &roots):
		return "AWS_CA_BUNDLE or NIX_SSL_CERT_FILE names that file: correct it, or unset it to trust what the system trusts"
	case errors.As(err, &name):
		return "the certificate is for another name: write the URL with one that it is for"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate has run out, or is not valid yet, by the clock of this machine"
	case errors.As(err, &unknown), errors.As(err, &invalid):
		return "if the server is yours, name a file with the certificate of its authority in NIX_SSL_CERT_FILE, or for a bucket in AWS_CA_BUNDLE"
	}
	return ""
}

// linkHint tells what to do about a symbolic link.
func linkHint(link *layout.LinkError) string {
	switch link.Reason {
	case layout.LinkDangles:
		return "mount what the link leads to, or remove the link; until then nothing can be said of what it stands for"
	case layout.LinkUntrusted:
		return fmt.Sprintf("if it is meant to lead there, make it root's or the cache owner's: chown -h root %s", link.Name)
	}
	return "put what it leads to in its place; only the folders at the top of a cache may be links that lead out of it, see docs/file-systems.md"
}

// unreachable reports whether no server answers at an address.
func unreachable(err error) bool {
	var name *net.DNSError
	return errors.As(err, &name) || errors.Is(err, syscall.ECONNREFUSED) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

var (
	userInURL = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s@"']*@`)
	ourToken  = regexp.MustCompile(`nst_[A-Za-z0-9_-]{20,}`)
)

// secretsIn returns the user names and passwords in the URLs of a command line, with
// the @ behind them, however the URLs are mistyped: an error may repeat an argument.
func secretsIn(args []string) []string {
	var secrets []string
	for _, arg := range args {
		if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			arg = value
		}
		arg = strings.TrimLeft(arg, "-")
		at := strings.LastIndexByte(arg, '@') + 1
		_, rest, isURL := strings.Cut(arg[:at], "://")
		switch {
		case isURL && withoutUser(arg) != arg:
			secrets = append(secrets, rest)
		case !isURL && at > 0 && (noScheme.MatchString(arg) || oneSlash.MatchString(arg)):
			secrets = append(secrets, strings.TrimPrefix(arg[:at], oneSlash.FindString(arg)))
		}
	}
	return secrets
}

// discreet takes out of a text what may be a secret: user names and passwords in
// URLs, tokens of ours, and secret keys, which people give in the place of a file. Every text for people and logs goes through it, though
// none should have any.
func discreet(s string) string {
	if strings.Contains(s, "@") {
		s = userInURL.ReplaceAllString(s, "$1")
	}
	if strings.Contains(s, "nst_") {
		s = ourToken.ReplaceAllString(s, "nst_…")
	}
	if strings.Contains(s, "==") {
		s = secretKey.ReplaceAllStringFunc(s, func(found string) string {
			name, _, _ := strings.Cut(found, ":")
			if name == "sha512" {
				return found // a hash of as many bytes
			}
			return name + ":…"
		})
	}
	return s
}

// secretKey matches a name and the 64 bytes of an ed25519 key; a public one has 32.
var secretKey = regexp.MustCompile(`[^\s:"',/]+:[A-Za-z0-9+/]{86}==`)

// printable keeps names from outside from steering the terminal and from turning the
// direction of text around, and secrets from being shown.
func printable(s string) string {
	s = discreet(s)
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || !unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return r
		}
		return '\uFFFD'
	}, s)
}
