package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/sync/internal/netx"
)

const (
	// An address of the cloud that is not there may swallow packets.
	instanceTimeout = time.Second
	tokenTimeout    = 30 * time.Second
)

// findCredentials looks where the AWS tools look, in their order:
//
//  1. the profile that the URL names, and nothing else if it does
//  2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
//  3. the role that the profile in use takes on
//  4. AWS_WEB_IDENTITY_TOKEN_FILE
//  5. what else is in that profile: AWS_PROFILE, or the one called "default"
//  6. MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, or MINIO_ACCESS_KEY and
//     MINIO_SECRET_KEY, for a service that is not Amazon's
//  7. the role of a container
//  8. the role of an instance, for Amazon's service
//
// A source that a person set up on purpose must work: its failure is an error,
// and never leads on to the next. Files that cannot be read are passed over only
// if the environment has credentials. With nothing set up anywhere the
// credentials are nil, and from says where was looked.
func findCredentials(ctx context.Context, o Options, client, direct *http.Client) (creds *credentials.Credentials, from string, err error) {
	if o.Profile != "" {
		return checked(ctx, client, &profileProvider{name: o.Profile, region: o.Region}, "profile "+o.Profile)
	}
	if key := cmp.Or(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_ACCESS_KEY")); key != "" {
		return checked(ctx, client, &credentials.Static{Value: credentials.Value{
			AccessKeyID:     key,
			SecretAccessKey: cmp.Or(os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SECRET_KEY")),
			SessionToken:    cmp.Or(os.Getenv("AWS_SECURITY_TOKEN"), os.Getenv("AWS_SESSION_TOKEN")),
			SignerType:      credentials.SignatureV4,
		}}, "the environment")
	}
	missed := []string{"AWS_ACCESS_KEY_ID is not set"}
	name := profileInUse()
	profile := &profileProvider{name: cmp.Or(name, "default"), region: o.Region}
	how, broken := profile.look()
	identity := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != ""
	switch {
	case how == byRole, how == byOther && !identity:
		return checked(ctx, client, profile, "profile "+profile.name)
	case identity:
		return checked(ctx, client, &credentials.IAM{Region: o.Region}, "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE")
	case broken == nil && how == noProfile && name == "":
		missed = append(missed, "there is no default profile")
	case broken == nil && how == noCredentials:
		missed = append(missed, "profile "+profile.name+" holds no credentials")
	case broken == nil, name != "":
		return checked(ctx, client, profile, "profile "+profile.name)
	}
	amazon := isAmazon(o.Endpoint)
	if !amazon && set("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY") {
		return checked(ctx, client, &credentials.EnvMinio{}, "the environment")
	}
	if set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI") {
		return checked(ctx, client, &credentials.IAM{Client: direct}, "the role of the container")
	}
	if broken != nil {
		return nil, "", fmt.Errorf("credentials from profile %s: %w", profile.name, broken)
	}
	if amazon && !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		creds, from, err = checked(ctx, client, instanceRole(), "the role of the instance")
		if err == nil {
			return creds, from, nil
		}
		if ctx.Err() != nil {
			return nil, "", context.Cause(ctx)
		}
		missed = append(missed, "there is no instance role")
	}
	return nil, strings.Join(missed, ", "), nil
}

// checked gets the first credentials from where they are said to be.
func checked(ctx context.Context, client *http.Client, p credentials.Provider, from string) (*credentials.Credentials, string, error) {
	creds := credentials.New(p)
	v, err := creds.GetWithContext(&credentials.CredContext{Client: client, Context: ctx})
	switch {
	case err != nil:
		return nil, "", fmt.Errorf("credentials from %s: %w", from, netx.WithoutURL(err))
	case v.AccessKeyID == "" || v.SecretAccessKey == "":
		return nil, "", fmt.Errorf("credentials from %s: %w", from, errHalf)
	}
	return creds, from, nil
}

// errHalf says that a key has no secret, or a secret no key.
var errHalf = errors.New("no access key or no secret key there")

// present returns the credentials that requests are signed with at the moment.
func (b *Bucket) present() credentials.Value {
	value, err := b.creds.GetWithContext(&credentials.CredContext{Client: b.asking})
	if err != nil {
		return credentials.Value{} // the request will tell
	}
	return value
}

// renew looks for other credentials than those that the store did not take, and
// reports whether there are any by now: a role or a process gives new ones, and
// the file of a profile may have been written anew. The environment stays as it
// is.
func (b *Bucket) renew(ctx context.Context, used credentials.Value) bool {
	if b.anonymous {
		return false
	}
	if now := b.present(); !sameCredentials(now, used) {
		return true // another request was faster
	}
	b.creds.Expire()
	now, err := b.creds.GetWithContext(&credentials.CredContext{Client: b.asking, Context: ctx})
	if err != nil {
		b.log.Warn("no new credentials", "from", b.credentials, "error", netx.WithoutURL(err))
		return false
	}
	if sameCredentials(now, used) {
		return false
	}
	b.log.Info("new credentials", "from", b.credentials)
	return true
}

func sameCredentials(a, b credentials.Value) bool {
	return a.AccessKeyID == b.AccessKeyID && a.SecretAccessKey == b.SecretAccessKey && a.SessionToken == b.SessionToken
}

func set(names ...string) bool {
	for _, name := range names {
		if os.Getenv(name) != "" {
			return true
		}
	}
	return false
}

// instanceRole is the role of the machine. Its address exists only inside a
// cloud.
func instanceRole() credentials.Provider {
	dialer := &net.Dialer{Timeout: instanceTimeout}
	return &credentials.IAM{Endpoint: os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), Client: &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, ResponseHeaderTimeout: instanceTimeout, DisableKeepAlives: true},
		Timeout:   3 * instanceTimeout,
	}}
}
