package s3

import (
	"cmp"
	"os"
	"strings"

	"github.com/nixstatic/nixstatic/sync/s3/awsconfig"
)

// settings are those of the environment and of the profile in use for what a URL
// does not say. Each may be "".
type settings struct {
	endpoint, region, addressing string
	authorities                  string // file of those to trust
}

// readSettings looks where the AWS tools look. Files that cannot be read set
// nothing here: it is an error where credentials are wanted of them.
func readSettings(profile string) settings {
	s := settings{region: cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))}
	p, files := awsconfig.Profile{}, &awsconfig.Files{}
	if read, err := awsconfig.Load(); err == nil {
		files = read
		p, _ = files.Profile(cmp.Or(profile, profileInUse(), "default"))
	}
	s.endpoint = endpointOf(files, p, "s3")
	region, _ := p.Text("region")
	s.region = cmp.Or(s.region, region)
	authorities, _ := p.Text("ca_bundle")
	s.authorities = cmp.Or(os.Getenv("AWS_CA_BUNDLE"), authorities, os.Getenv("NIX_SSL_CERT_FILE"))
	switch style := p.Group("s3")["addressing_style"]; style {
	case "path", "virtual":
		s.addressing = style
	}
	return s
}

// profileInUse is the one that the environment names.
func profileInUse() string {
	return cmp.Or(os.Getenv("AWS_DEFAULT_PROFILE"), os.Getenv("AWS_PROFILE"))
}

// endpointOf returns the URL at which a service is said to be, "" for Amazon's.
func endpointOf(files *awsconfig.Files, p awsconfig.Profile, service string) string {
	if ignored, _ := p.Text("ignore_configured_endpoint_urls"); strings.EqualFold(cmp.Or(os.Getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), ignored), "true") {
		return ""
	}
	own, _ := p.Text("endpoint_url")
	return cmp.Or(os.Getenv("AWS_ENDPOINT_URL_"+strings.ToUpper(service)), os.Getenv("AWS_ENDPOINT_URL"),
		files.Service(p, service)["endpoint_url"], own)
}
