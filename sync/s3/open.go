package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

// A Bucket is a tree in a bucket, or below a prefix of one. Several processes
// may use it at the same time, on any number of machines.
type Bucket struct {
	loc    Location // with the defaults filled in
	prefix string   // "" or ends in a slash
	log    *slog.Logger

	creds       *credentials.Credentials
	credentials string // where they are from, or where there were none
	anonymous   bool
	transport   *netx.Transport
	guard       http.RoundTripper
	asking      *http.Client // for credentials
	clock       clock
	client      atomic.Pointer[client] // replaced when the region turns out

	known   atomic.Int32 // manner that the store takes
	refuses atomic.Bool  // it refuses conditions
	first   atomic.Bool  // it knows the first version of listing alone
	single  atomic.Bool  // it removes one object with a request

	fence layout.Fence

	alone  atomic.Bool // AssumeOneWriter was called
	writer sync.Mutex  // then holds from looking to writing

	proving sync.Mutex    // guards proved
	proved  *Capabilities // nil until Prove has succeeded
}

// A client speaks to one region.
type client struct {
	*minio.Core
	region string
}

var (
	_ layout.Tree         = (*Bucket)(nil)
	_ layout.BatchPutter  = (*Bucket)(nil)
	_ layout.BatchDeleter = (*Bucket)(nil)
	_ layout.TopLister    = (*Bucket)(nil)
	_ layout.Fenced       = (*Bucket)(nil)
)

// Traits says that a bucket is far away, and what it does cheaper than one by one.
func (b *Bucket) Traits() layout.Traits {
	return layout.Traits{Batches: true, Folders: true, Encoded: true}
}

// Open opens a bucket that must exist. A missing one is ErrNoBucket; where
// credentials were found, or that there are none, is told to Log and by
// Credentials.
func Open(ctx context.Context, loc Location) (*Bucket, error) {
	b, err := New(ctx, loc)
	if err != nil {
		return nil, err
	}
	if err := b.Check(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// New makes a Bucket without asking the store for anything, for Prepare. It
// finds the credentials, which may ask others.
func New(ctx context.Context, loc Location) (*Bucket, error) {
	said := readSettings(loc.Profile)
	loc.Endpoint = cmp.Or(loc.Endpoint, said.endpoint)
	loc.Addressing = cmp.Or(loc.Addressing, said.addressing)
	endpoint, err := parseEndpoint(loc.Endpoint, "")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	loc.Endpoint = cmp.Or(endpoint, amazonEndpoint)
	loc.Attempts = cmp.Or(loc.Attempts, attempts)
	loc.RetryDelay = cmp.Or(loc.RetryDelay, retryDelay)
	loc.Stall = cmp.Or(loc.Stall, stall)
	loc.PartSize = min(cmp.Or(loc.PartSize, partSize), maxSinglePut)
	loc.PartThreshold = cmp.Or(loc.PartThreshold, partThreshold)
	if loc.PartThreshold < 0 || loc.PartThreshold > maxSinglePut {
		loc.PartThreshold = maxSinglePut
	}
	b := &Bucket{loc: loc, log: loc.Log}
	if b.log == nil {
		b.log = slog.New(slog.DiscardHandler)
	}
	if loc.Prefix != "" {
		b.prefix = loc.Prefix + "/"
	}
	b.transport = netx.NewTransport(netx.Config{Stall: loc.Stall, Connections: openConnections, HTTP1: true, CAFile: said.authorities})
	b.guard = &guard{&punctual{&dated{b.transport, &b.clock}}}
	b.asking = &http.Client{Transport: b.guard, Timeout: tokenTimeout}
	if b.creds, b.credentials, err = findCredentials(ctx, loc.Options, b.asking, b.direct()); err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, err)
	}
	if b.creds == nil {
		b.anonymous = true
		b.creds = credentials.NewStatic("", "", "", credentials.SignatureAnonymous)
		b.log.Warn("no credentials found: requests are not signed", "bucket", loc.String(), "because", b.credentials)
	} else {
		b.log.Debug("credentials", "bucket", loc.String(), "from", b.credentials)
	}
	if err := b.connect(cmp.Or(loc.Region, said.region, defaultRegion)); err != nil {
		return nil, fmt.Errorf("open %s: %w", loc, lower(err))
	}
	return b, nil
}

// direct asks without a proxy: what is on this machine, or on its container's, is
// beyond none.
func (b *Bucket) direct() *http.Client {
	return &http.Client{Transport: b.transport.Clone(func(t *http.Transport) { t.Proxy = nil }), Timeout: tokenTimeout}
}

// connect makes the client for a region. Given one, it never asks for it.
func (b *Bucket) connect(region string) error {
	u, err := url.Parse(b.loc.Endpoint)
	if err != nil {
		return err
	}
	lookup := map[string]minio.BucketLookupType{"path": minio.BucketLookupPath, "virtual": minio.BucketLookupDNS}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:        b.creds,
		Secure:       u.Scheme == "https",
		Region:       region,
		Transport:    b.guard,
		BucketLookup: lookup[b.loc.Addressing],
		MaxRetries:   1, // see retry
	})
	if err != nil {
		return err
	}
	core.SetAppInfo("nixstatic", netx.Version())
	b.client.Store(&client{core, region})
	return nil
}

// Check asks the store for the bucket. It follows the store to another region
// unless the Location names one. A client that may not list the bucket passes:
// perhaps single objects are allowed.
func (b *Bucket) Check(ctx context.Context) error {
	err := b.check(ctx)
	var e *refusal
	if errors.As(err, &e) && wantsVirtual(e) {
		if b.loc.Addressing != "" {
			return fmt.Errorf("open %s: say addressing-style=virtual: %w", b.loc, err)
		}
		b.log.Info("the store wants the bucket in the name of the host", "bucket", b.loc.String())
		b.loc.Addressing = "virtual"
		if err := b.connect(b.client.Load().region); err != nil {
			return fmt.Errorf("open %s: %w", b.loc, lower(err))
		}
		err = b.check(ctx)
	}
	if errors.As(err, &e) && e.region != "" && e.region != b.client.Load().region {
		if b.loc.Region != "" {
			return fmt.Errorf("open %s: the bucket is in another region: say region=%s", b.loc, e.region)
		}
		b.log.Info("bucket found in another region", "bucket", b.loc.String(), "region", e.region)
		if err := b.connect(e.region); err != nil {
			return fmt.Errorf("open %s: %w", b.loc, lower(err))
		}
		err = b.check(ctx)
	}
	if errors.As(err, &e) && e.code == "AccessDenied" {
		b.log.Warn("the bucket may not be listed", "bucket", b.loc.String())
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s at %s: %w", b.loc, b.loc.Endpoint, err)
	}
	return nil
}

// check lists one object: unlike a HEAD of the bucket, the answer says in its
// body what is wrong.
func (b *Bucket) check(ctx context.Context) error {
	return b.retry(ctx, "open", func(int) error {
		err := b.older(b.listOne(ctx))
		if err == errOlder {
			err = b.listOne(ctx)
		}
		return err
	})
}

func (b *Bucket) listOne(ctx context.Context) error {
	for o := range b.client.Load().ListObjectsIter(ctx, b.loc.Bucket, b.listing("", "", 1)) {
		if o.Err != nil {
			return classify(o.Err)
		}
		break
	}
	return ctx.Err()
}

// wantsVirtual reports whether a store refuses requests with the bucket in their
// path. The codes are those of Alibaba, Tencent, Volcano Engine and Huawei.
func wantsVirtual(e *refusal) bool {
	switch e.code {
	case "SecondLevelDomainForbidden", "PathStyleDomainForbidden", "InvalidPathAccess", "VirtualHostDomainRequired":
		return true
	}
	return false
}

// Close gives idle connections back.
func (b *Bucket) Close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// URL returns the bucket and prefix, without parameters.
func (b *Bucket) URL() string { return b.loc.String() }

// Credentials tells in words where the credentials are from, and whether there
// are none: then requests are not signed, and the words tell where was looked.
func (b *Bucket) Credentials() (from string, anonymous bool) { return b.credentials, b.anonymous }

// name is how messages name an object.
func (b *Bucket) name(key layout.Key) string { return b.loc.String() + "/" + string(key) }

// object is the name of a key in the bucket.
func (b *Bucket) object(key layout.Key) string { return b.prefix + string(key) }

func isAmazon(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := u.Hostname()
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn")
}
