package s3

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/lifecycle"

	"github.com/nixstatic/nixstatic/layout"
)

const (
	policyID    = "NixstaticPublicRead"
	lifecycleID = "nixstatic-unfinished-uploads"
	// After this many days no process is still at work on an unfinished upload.
	lifecycleDays = 7
)

// Prepared tells what Prepare did and what the store would not have.
type Prepared struct {
	Created bool // there was no bucket
	Public  bool // anyone may read the public objects
	// CleansUp says that the store removes unfinished uploads, by a rule of ours or
	// another's, or Unasked. If not, Unwilling is why: Leftovers finds them.
	CleansUp  bool
	Unasked   bool
	Unwilling string
}

// Prepare makes the bucket if it is not there. With public it lets anyone read
// the objects of public kinds, and neither list them nor read a private one; a
// bucket that is public already stays so without. It asks the store to remove
// what broken uploads leave. Other rules and grants of the bucket are kept.
func (b *Bucket) Prepare(ctx context.Context, public bool) (Prepared, error) {
	var p Prepared
	err := b.Check(ctx)
	if errors.Is(err, ErrNoBucket) {
		p.Created, err = b.create(ctx)
	}
	if err != nil {
		return p, err
	}
	if public {
		if err := b.publish(ctx); err != nil {
			if errors.Is(err, fs.ErrPermission) && isAmazon(b.loc.Endpoint) {
				err = fmt.Errorf("%w (new buckets at Amazon refuse to become public until BlockPublicPolicy and"+
					" RestrictPublicBuckets are turned off for them)", err)
			}
			return p, fmt.Errorf("make %s public: %w", b.loc, err)
		}
		p.Public = true
	}
	if err := b.cleanUp(ctx); err != nil {
		var e *refusal
		if !errors.As(err, &e) && err != errOtherRules {
			return p, fmt.Errorf("set the lifecycle of %s: %w", b.loc, err)
		}
		if e != nil && e.server == "MinIO" && e.code == "InvalidArgument" {
			// It takes no such rule, and removes them after a day.
			p.CleansUp, p.Unasked = true, true
			return p, nil
		}
		p.Unwilling = err.Error()
		return p, nil
	}
	p.CleansUp = true
	return p, nil
}

func (b *Bucket) create(ctx context.Context) (bool, error) {
	c := b.client.Load()
	created := true
	err := b.retry(ctx, "make bucket", func(int) error {
		err := classify(c.MakeBucket(ctx, b.loc.Bucket, minio.MakeBucketOptions{Region: c.region}))
		var e *refusal
		if errors.As(err, &e) && (strings.HasSuffix(e.code, "LocationConstraint") || e.code == "IllegalLocationConstraintException" || unknown(err)) && c.region != defaultRegion {
			// The store may know its region by another name than the bucket is to have,
			// or no regions at all.
			if again := classify(c.MakeBucket(ctx, b.loc.Bucket, minio.MakeBucketOptions{Region: defaultRegion})); again == nil {
				return nil
			}
		}
		if errors.As(err, &e) && e.code == "BucketAlreadyOwnedByYou" {
			created = false // by someone else meanwhile, or by us and the answer was lost
			return nil
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("make bucket %s: %w", b.loc.Bucket, err)
	}
	return created, nil
}

// publish adds our statement to the policy of the bucket, or brings it up to
// date.
func (b *Bucket) publish(ctx context.Context) error {
	c := b.client.Load()
	var text string
	err := b.retry(ctx, "get policy", func(int) (err error) {
		text, err = c.Client.GetBucketPolicy(ctx, b.loc.Bucket) // "" if there is none
		return classify(err)
	})
	if err != nil {
		return err
	}
	text, err = addStatement(text, b.statement())
	if err != nil {
		return err
	}
	return b.retry(ctx, "put policy", func(int) error {
		return classify(c.SetBucketPolicy(ctx, b.loc.Bucket, text))
	})
}

// A statement is one grant of a bucket's policy, in Amazon's language of them.
type statement struct {
	Sid       string
	Effect    string
	Principal map[string][]string
	Action    []string
	Resource  []string
}

// statementID is apart for each prefix, so that trees can share a bucket.
func (b *Bucket) statementID() string {
	return policyID + strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, b.prefix)
}

func (b *Bucket) statement() statement {
	s := statement{Sid: b.statementID(), Effect: "Allow",
		Principal: map[string][]string{"AWS": {"*"}}, Action: []string{"s3:GetObject"}}
	partition := "aws"
	if strings.HasPrefix(b.client.Load().region, "cn-") {
		partition = "aws-cn"
	}
	for _, pattern := range layout.PublicPatterns() {
		s.Resource = append(s.Resource, "arn:"+partition+":s3:::"+b.loc.Bucket+"/"+b.prefix+pattern)
	}
	return s
}

// addStatement puts a statement into a policy, in the place of the one with
// the same Sid. All else stays as it is.
func addStatement(policy string, s statement) (string, error) {
	doc := map[string]json.RawMessage{"Version": json.RawMessage(`"2012-10-17"`)}
	var statements []json.RawMessage
	if policy != "" {
		if err := json.Unmarshal([]byte(policy), &doc); err != nil {
			return "", fmt.Errorf("policy of the bucket: %w", err)
		}
		// A single one may stand without brackets.
		if one := doc["Statement"]; len(one) > 0 && one[0] == '{' {
			statements = []json.RawMessage{one}
		} else if err := json.Unmarshal(one, &statements); err != nil {
			return "", fmt.Errorf("policy of the bucket: %w", err)
		}
	}
	statements = slices.DeleteFunc(statements, func(raw json.RawMessage) bool {
		var have struct{ Sid string }
		return json.Unmarshal(raw, &have) == nil && have.Sid == s.Sid
	})
	ours, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	if doc["Statement"], err = json.Marshal(append(statements, ours)); err != nil {
		return "", err
	}
	text, err := json.Marshal(doc)
	return string(text), err
}

// errOtherRules says that the lifecycle of the bucket is left as it is: the
// client library would drop those of its rules that it does not know.
var errOtherRules = errors.New("the bucket has lifecycle rules of its own; one that aborts incomplete multipart uploads is missing")

// cleanUp asks the store to remove unfinished uploads when they are old.
func (b *Bucket) cleanUp(ctx context.Context) error {
	c := b.client.Load()
	config := lifecycle.NewConfiguration()
	err := b.retry(ctx, "get lifecycle", func(int) error {
		have, err := c.GetBucketLifecycle(ctx, b.loc.Bucket)
		err = classify(err)
		var e *refusal
		if errors.As(err, &e) && e.code == "NoSuchLifecycleConfiguration" {
			return nil
		}
		if err == nil {
			config = have
		}
		return err
	})
	if err != nil {
		return err
	}
	ours := lifecycle.Rule{
		ID:                             lifecycleID,
		Status:                         "Enabled",
		RuleFilter:                     lifecycle.Filter{Prefix: b.prefix + layout.NARFolder},
		AbortIncompleteMultipartUpload: lifecycle.AbortIncompleteMultipartUpload{DaysAfterInitiation: lifecycleDays},
	}
	if b.prefix != "" {
		ours.ID += "-" + strings.TrimPrefix(b.statementID(), policyID)
	}
	others := false
	for _, r := range config.Rules {
		covers := strings.HasPrefix(ours.RuleFilter.Prefix, r.RuleFilter.Prefix) && strings.HasPrefix(ours.RuleFilter.Prefix, r.Prefix) &&
			r.RuleFilter.Tag.IsEmpty() && r.RuleFilter.And.IsEmpty()
		if r.Status == "Enabled" && covers && !r.AbortIncompleteMultipartUpload.IsDaysNull() {
			return nil
		}
		others = others || !strings.HasPrefix(r.ID, lifecycleID)
	}
	if others {
		return errOtherRules
	}
	config.Rules = append(slices.DeleteFunc(config.Rules, func(r lifecycle.Rule) bool { return r.ID == ours.ID }), ours)
	return b.retry(ctx, "put lifecycle", func(int) error {
		return classify(c.SetBucketLifecycle(ctx, b.loc.Bucket, config))
	})
}
