package s3

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/sync/s3/awsconfig"
)

// A profileProvider gives the credentials of a profile. It looks into the files
// whenever it is asked, since they may have been written anew.
type profileProvider struct {
	name   string
	region string // of the URL
	last   credentials.Provider
}

// how tells in what way a profile has credentials.
type how int

const (
	noProfile     how = iota
	noCredentials     // but settings
	byRole            // that it takes on with the credentials of someone else
	byOther
)

// look finds out in what way the profile has credentials, and asks for none. The
// error is that of files that cannot be read.
func (p *profileProvider) look() (how, error) {
	files, err := awsconfig.Load()
	if err != nil {
		return noProfile, err
	}
	profile, ok := files.Profile(p.name)
	switch {
	case !ok:
		return noProfile, nil
	case takesRole(profile):
		return byRole, nil
	}
	for _, key := range []string{"aws_access_key_id", "aws_secret_access_key", "credential_process", "web_identity_token_file"} {
		if _, ok := profile.Section[key]; ok {
			return byOther, nil
		}
	}
	if signedOn(profile) {
		return byOther, nil
	}
	return noCredentials, nil
}

// RetrieveWithCredContext gets the credentials.
func (p *profileProvider) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	files, err := awsconfig.Load()
	if err != nil {
		return credentials.Value{}, err
	}
	r := resolver{files: files, region: p.region}
	last, err := r.profile(p.name)
	if err != nil {
		return credentials.Value{}, err
	}
	value, err := last.RetrieveWithCredContext(cc)
	if err == nil {
		p.last = last
	}
	return value, err
}

// Retrieve gets the credentials.
func (p *profileProvider) Retrieve() (credentials.Value, error) {
	return p.RetrieveWithCredContext(nil)
}

// IsExpired reports whether they have to be got anew.
func (p *profileProvider) IsExpired() bool { return p.last == nil || p.last.IsExpired() }

// A resolver follows a profile to those that it rests on.
type resolver struct {
	files  *awsconfig.Files
	region string
	seen   []string
}

func (r *resolver) profile(name string) (credentials.Provider, error) {
	p, ok := r.files.Profile(name)
	if !ok {
		return nil, fmt.Errorf("there is no profile of this name: %w", fs.ErrNotExist)
	}
	r.seen = append(r.seen, name)
	// Keys in a profile that another rests on come before its role, or no profile
	// could take on a role with its own keys.
	if takesRole(p) && (len(r.seen) == 1 || !hasKeys(p.Section)) {
		return r.role(p)
	}
	return r.own(p)
}

// own is what a profile has without another. The first way that it has is taken,
// in the order of the AWS tools.
func (r *resolver) own(p awsconfig.Profile) (credentials.Provider, error) {
	if file, ok := p.Text("web_identity_token_file"); ok {
		return r.webIdentity(p, file)
	}
	if signedOn(p) {
		return &credentials.FileAWSCredentials{Profile: p.Name}, nil
	}
	if hasKey(p.Shared) {
		return keys(p.Shared)
	}
	if command, ok := p.Text("credential_process"); ok {
		return &process{command: command}, nil
	}
	if hasKey(p.Config) {
		return keys(p.Config)
	}
	if hasKeys(p.Section) {
		return nil, errHalf
	}
	return nil, errors.New("no access key there, and no credential_process that gives one")
}

func takesRole(p awsconfig.Profile) bool {
	_, role := p.Text("role_arn")
	_, identity := p.Text("web_identity_token_file")
	return role && !identity
}

// signedOn reports whether someone signs on for the profile with a browser.
func signedOn(p awsconfig.Profile) bool {
	_, account := p.Text("sso_account_id")
	_, role := p.Text("sso_role_name")
	return account || role
}

func hasKey(s awsconfig.Section) bool {
	_, ok := s.Text("aws_access_key_id")
	return ok
}

func hasKeys(s awsconfig.Section) bool {
	_, secret := s.Text("aws_secret_access_key")
	return secret || hasKey(s)
}

// keys are those that a file holds.
func keys(s awsconfig.Section) (credentials.Provider, error) {
	v := credentials.Value{SignerType: credentials.SignatureV4}
	v.AccessKeyID, _ = s.Text("aws_access_key_id")
	v.SecretAccessKey, _ = s.Text("aws_secret_access_key")
	if v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, errHalf
	}
	var ok bool
	if v.SessionToken, ok = s.Text("aws_security_token"); !ok {
		v.SessionToken, _ = s.Text("aws_session_token")
	}
	return &credentials.Static{Value: v}, nil
}

// role is one that p takes on with the credentials of another profile, or of a
// source that has a name.
func (r *resolver) role(p awsconfig.Profile) (credentials.Provider, error) {
	source, hasSource := p.Text("source_profile")
	named, hasNamed := p.Text("credential_source")
	out := &assumedRole{STSAssumeRole: &credentials.STSAssumeRole{STSEndpoint: r.endpoint(p)}}
	var err error
	switch {
	case hasSource == hasNamed:
		return nil, fmt.Errorf("profile %s has a role_arn: it needs a source_profile or a credential_source, and not both", p.Name)
	case hasNamed:
		out.source, err = namedSource(named)
	case slices.Contains(r.seen, source) && (source != p.Name || !hasKeys(p.Section)):
		return nil, fmt.Errorf("the source_profile of profile %s leads back to %s", p.Name, source)
	default:
		out.source, err = r.profile(source)
	}
	if err != nil {
		return nil, fmt.Errorf("source of profile %s: %w", p.Name, err)
	}
	if _, ok := p.Text("mfa_serial"); ok {
		return nil, fmt.Errorf("profile %s wants a code to be typed (mfa_serial), which has no place here: let a credential_process ask for it", p.Name)
	}
	o := &out.Options
	o.Location = r.regionOf(p)
	o.RoleARN, _ = p.Text("role_arn")
	o.ExternalID, _ = p.Text("external_id")
	o.RoleSessionName, _ = p.Text("role_session_name")
	if o.RoleSessionName == "" {
		o.RoleSessionName = "nixstatic-" + strconv.FormatInt(time.Now().Unix(), 10)
	}
	if seconds, ok := p.Text("duration_seconds"); ok {
		o.DurationSeconds, _ = strconv.Atoi(seconds) // as if it were not there, as the AWS tools do
	}
	return out, nil
}

// namedSource is one that credential_source names.
func namedSource(name string) (credentials.Provider, error) {
	switch strings.ToLower(name) {
	case "environment":
		return &credentials.EnvAWS{}, nil
	case "ecscontainer":
		return &credentials.IAM{}, nil
	case "ec2instancemetadata":
		return instanceRole(), nil
	}
	return nil, errors.New("credential_source is none of Environment, EcsContainer and Ec2InstanceMetadata")
}

// An assumedRole is a role that is taken on with the credentials of a source.
type assumedRole struct {
	*credentials.STSAssumeRole
	source credentials.Provider
}

// RetrieveWithCredContext gets credentials for the role.
func (a *assumedRole) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	v, err := a.source.RetrieveWithCredContext(cc)
	if err == nil && (v.AccessKeyID == "" || v.SecretAccessKey == "") {
		err = errHalf
	}
	if err != nil {
		return v, fmt.Errorf("source of the role: %w", err)
	}
	a.Options.AccessKey, a.Options.SecretKey, a.Options.SessionToken = v.AccessKeyID, v.SecretAccessKey, v.SessionToken
	return a.STSAssumeRole.RetrieveWithCredContext(cc)
}

func (r *resolver) webIdentity(p awsconfig.Profile, file string) (credentials.Provider, error) {
	arn, _ := p.Text("role_arn")
	if arn == "" {
		return nil, fmt.Errorf("profile %s has a web_identity_token_file and no role_arn", p.Name)
	}
	return &credentials.STSWebIdentity{STSEndpoint: r.endpoint(p), RoleARN: arn,
		GetWebIDTokenExpiry: func() (*credentials.WebIdentityToken, error) {
			token, err := os.ReadFile(file)
			return &credentials.WebIdentityToken{Token: string(token)}, err
		}}, nil
}

// endpoint is where roles are given out.
func (r *resolver) endpoint(p awsconfig.Profile) string {
	switch url, region := endpointOf(r.files, p, "sts"), r.regionOf(p); {
	case url != "":
		return url
	case strings.HasPrefix(region, "cn-"):
		return "https://sts." + region + ".amazonaws.com.cn"
	default:
		return "https://sts." + region + ".amazonaws.com"
	}
}

func (r *resolver) regionOf(p awsconfig.Profile) string {
	own, _ := p.Text("region")
	return cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"), own, r.region, defaultRegion)
}
