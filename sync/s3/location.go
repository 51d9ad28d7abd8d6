package s3

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/nixstatic/nixstatic/layout"
)

// A Location says where a tree in a bucket is.
type Location struct {
	Bucket string
	Prefix string // without slashes at its ends; "" for the whole bucket
	Options
}

// Options say how to reach a bucket. The zero value is Amazon's S3 with what
// the environment says.
type Options struct {
	// Endpoint is the URL of the service, http://host:port, and "" for Amazon's,
	// or what AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL say.
	Endpoint string
	// Region is where the bucket is. "" is AWS_REGION or AWS_DEFAULT_REGION or
	// us-east-1, and if the store names another, that one.
	Region string
	// Profile names the section of the AWS configuration files that holds the
	// credentials; they are taken from nowhere else then.
	Profile string
	// Addressing is "path" for http://host/bucket/key, "virtual" for
	// http://bucket.host/key, and "" for virtual on Amazon, path elsewhere.
	Addressing string
	// StorageClass is sent with every object; "" for the store's default.
	StorageClass string
	// PartThreshold is the size from which on a NAR goes up in parts. 0 is
	// 100 MiB, negative is as late as a store allows, which is 5 GiB.
	PartThreshold int64
	// PartSize is how large those parts are at least. 0 is 32 MiB.
	PartSize int64
	// OneWriter is the promise of the URL's author that no two processes write to
	// the tree at the same time. It is for stores that do not keep to conditions;
	// whether one does is for Prove to find out.
	OneWriter bool
	// ProveFirst has the first Put find out whether the store keeps to conditions.
	ProveFirst bool
	// Alone is called once if it does not, and OneWriter is not set; may be nil.
	Alone func()

	// Attempts is how often a request is tried, the first time included. 0 is 8.
	Attempts int
	// RetryDelay is the pause before the second attempt; each further one is
	// twice as long, up to 20 s. 0 is 200 ms. It is five times as long where the
	// store asks to slow down.
	RetryDelay time.Duration
	// Stall is how long a connection may stand still, the time that the store
	// takes for an answer included. 0 is five minutes.
	Stall time.Duration
	Log   *slog.Logger // is told of retries and choices; may be nil
}

const (
	mib            = 1 << 20
	minPartSize    = 5 * mib // what S3 allows, except for the last part
	maxParts       = 10_000
	maxSinglePut   = 5 << 30
	maxObject      = 5 << 40
	partThreshold  = 100 * mib
	partSize       = 32 * mib
	defaultRegion  = "us-east-1"
	amazonEndpoint = "https://s3.amazonaws.com"
)

// ParseURL reads s3://bucket/prefix?endpoint=…&region=…&profile=…&scheme=… as
// Nix has it: endpoint is a URL, or a host and perhaps a port for which scheme
// says whether it is http. addressing-style, storage-class, multipart-upload,
// multipart-threshold and multipart-chunk-size (or buffer-size) are read too;
// one-writer=true is ours, see Options.
//
// Credentials have no place in it, and an error repeats none.
func ParseURL(raw string) (Location, error) {
	rest, ok := strings.CutPrefix(raw, "s3://")
	if !ok {
		return Location{}, errors.New("not an s3:// URL: want s3://bucket or s3://bucket/prefix")
	}
	if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
		return Location{}, errors.New("s3 URL: credentials do not belong into it; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a profile")
	}
	u, err := url.Parse(raw)
	if err != nil || u.Fragment != "" || u.Opaque != "" {
		return Location{}, fmt.Errorf("s3 URL %q: not a URL of the form s3://bucket/prefix?endpoint=…", raw)
	}
	loc := Location{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	if strings.Contains(loc.Bucket, ":") {
		return Location{}, fmt.Errorf("s3 URL %q: what stands first is the bucket; the host of the service goes into ?endpoint=", raw)
	}
	if err := s3utils.CheckValidBucketName(loc.Bucket); err != nil {
		return Location{}, fmt.Errorf("s3 URL %q: bucket %q: %w", raw, loc.Bucket, lower(err))
	}
	if loc.Prefix != "" {
		if _, err := layout.ParseKey(loc.Prefix); err != nil {
			return Location{}, fmt.Errorf("s3 URL %q: prefix: %w", raw, err)
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Location{}, fmt.Errorf("s3 URL %q: query: %w", raw, err)
	}
	if err := loc.parameters(query); err != nil {
		return Location{}, fmt.Errorf("s3 URL %s: %w", loc, err)
	}
	return loc, nil
}

// String returns the URL without its parameters.
func (loc Location) String() string {
	u := url.URL{Scheme: "s3", Host: loc.Bucket, Path: "/" + loc.Prefix}
	return strings.TrimSuffix(u.String(), "/")
}

func (loc *Location) parameters(query url.Values) error {
	for name, values := range query {
		if len(values) != 1 {
			return fmt.Errorf("%s is given %d times", name, len(values))
		}
	}
	var err error
	o := &loc.Options
	if o.Endpoint, err = parseEndpoint(query.Get("endpoint"), query.Get("scheme")); err != nil {
		return err
	}
	o.Region, o.Profile, o.StorageClass = query.Get("region"), query.Get("profile"), query.Get("storage-class")
	switch o.Addressing = query.Get("addressing-style"); o.Addressing {
	case "auto":
		o.Addressing = ""
	case "", "path", "virtual":
	default:
		return fmt.Errorf("addressing-style=%s: choose one of auto, path, virtual", o.Addressing)
	}
	if o.PartThreshold, err = size(query, "multipart-threshold"); err != nil {
		return err
	}
	if query.Get("multipart-upload") == "false" {
		o.PartThreshold = -1
	}
	for _, name := range []string{"buffer-size", "multipart-chunk-size"} {
		n, err := size(query, name)
		if err != nil {
			return err
		}
		if n != 0 {
			o.PartSize = max(n, minPartSize)
		}
	}
	switch word := query.Get("one-writer"); word {
	case "", "false":
	case "true":
		o.OneWriter = true
	default:
		return fmt.Errorf("one-writer=%s: choose true or false", word)
	}
	known := []string{"endpoint", "scheme", "region", "profile", "storage-class", "addressing-style",
		"multipart-upload", "multipart-threshold", "multipart-chunk-size", "buffer-size", "one-writer"}
	for name := range query {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s is no parameter of it; known are %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// parseEndpoint returns the URL of a service. A host with a port must not be
// taken for a URL whose scheme is the host.
func parseEndpoint(endpoint, scheme string) (string, error) {
	if scheme != "" && scheme != "http" && scheme != "https" {
		return "", fmt.Errorf("scheme=%s: choose http or https", scheme)
	}
	if strings.Contains(endpoint, "@") {
		return "", errors.New("endpoint: credentials do not belong into it")
	}
	if endpoint == "" {
		if scheme == "http" {
			return "http://s3.amazonaws.com", nil
		}
		return "", nil
	}
	if !strings.Contains(endpoint, "://") {
		if scheme == "" {
			scheme = "https"
		}
		endpoint = scheme + "://" + endpoint
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("endpoint=%s: want host:port, http://host:port or https://host", endpoint)
	case scheme != "" && u.Scheme != scheme:
		return "", fmt.Errorf("endpoint=%s contradicts scheme=%s", endpoint, scheme)
	case strings.Trim(u.Path, "/") != "":
		return "", fmt.Errorf("endpoint=%s: a path in it is not supported", endpoint)
	}
	return u.Scheme + "://" + u.Host, nil
}

// size reads a number of bytes.
func size(query url.Values, name string) (int64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s=%s: want a number of bytes", name, text)
	}
	return n, nil
}
