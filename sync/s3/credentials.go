package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// An address of the cloud that is not there may swallow packets.
	instanceTimeout = time.Second
	tokenTimeout    = 30 * time.Second
)

// findCredentials looks where the AWS tools look, in their order:
//
//  1. the profile that the URL names
//  2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
//  3. AWS_WEB_IDENTITY_TOKEN_FILE
//  4. AWS_PROFILE, or the profile "default"
//  5. MINIO_ROOT_USER and MINIO_ROOT_PASSWORD, or MINIO_ACCESS_KEY and
//     MINIO_SECRET_KEY, for a service that is not Amazon's
//  6. the role of a container
//  7. the role of an instance, for Amazon's service
//
// What someone set up on purpose must work: its failure is an error, and never
// leads on to the next. With nothing set up anywhere the credentials are nil,
// and from says where was looked.
func findCredentials(ctx context.Context, o Options, client *http.Client) (creds *credentials.Credentials, from string, err error) {
	amazon := isAmazon(o.Endpoint)
	check := func(p credentials.Provider, from string) (*credentials.Credentials, string, error) {
		creds := credentials.New(p)
		v, err := creds.GetWithContext(&credentials.CredContext{Client: client, Context: ctx})
		switch {
		case err != nil:
			return nil, "", fmt.Errorf("credentials from %s: %w", from, secretless(err))
		case v.AccessKeyID == "" || v.SecretAccessKey == "":
			return nil, "", fmt.Errorf("credentials from %s: no access key or no secret key there", from)
		}
		return creds, from, nil
	}
	profile := func(name string) (*credentials.Credentials, string, error) {
		creds, from, err := check(&credentials.FileAWSCredentials{Profile: name}, "profile "+name)
		if err != nil && strings.Contains(err.Error(), "no access key") {
			err = fmt.Errorf("%w (of a role that another profile takes on, nothing is known here:"+
				" credential_process = aws configure export-credentials --profile %s does it)", err, name)
		}
		return creds, from, err
	}
	role := func(client *http.Client) credentials.Provider {
		return &credentials.IAM{Client: client, Region: o.Region, Endpoint: os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")}
	}

	var missed []string
	if o.Profile != "" {
		return profile(o.Profile)
	}
	if set("AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY") {
		return check(&credentials.EnvAWS{}, "the environment")
	}
	missed = append(missed, "AWS_ACCESS_KEY_ID is not set")
	if set("AWS_WEB_IDENTITY_TOKEN_FILE") {
		return check(&credentials.IAM{Client: client, Region: o.Region}, "the web identity in AWS_WEB_IDENTITY_TOKEN_FILE")
	}
	if name := os.Getenv("AWS_PROFILE"); name != "" {
		return profile(name)
	}
	creds, from, err = profile("default")
	if err == nil {
		return creds, from, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "does not exist") && !strings.Contains(err.Error(), "no access key") {
		return nil, "", err
	}
	missed = append(missed, "there is no default profile")
	if !amazon {
		if set("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY") {
			return check(&credentials.EnvMinio{}, "the environment")
		}
	}
	if set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI") {
		return check(&credentials.IAM{Client: client}, "the role of the container")
	}
	if amazon && !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		creds, from, err = check(role(instanceClient()), "the role of the instance")
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
		b.log.Warn("no new credentials", "from", b.credentials, "error", secretless(err))
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

// secretless rewords errors that could repeat what a file of secrets holds.
func secretless(err error) error {
	if strings.Contains(err.Error(), "key-value delimiter not found") {
		return errors.New("the file has a line that is neither [section] nor key = value")
	}
	return withoutURL(err)
}

// instanceClient asks the address that exists only inside a cloud.
func instanceClient() *http.Client {
	dialer := &net.Dialer{Timeout: instanceTimeout}
	return &http.Client{
		Transport: &http.Transport{DialContext: dialer.DialContext, ResponseHeaderTimeout: instanceTimeout, DisableKeepAlives: true},
		Timeout:   3 * instanceTimeout,
	}
}
