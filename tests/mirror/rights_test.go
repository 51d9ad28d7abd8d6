//go:build real

package mirror_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/layout/treetest"
	"github.com/nixstatic/nixstatic/tests/nixtest"
)

// TestRights: the policy that docs/buckets.md gives is enough, and what it leaves
// out is refused with advice.
func TestRights(t *testing.T) {
	w := newWorld(t)
	url, bucket := w.bucket(t)
	name, _, _ := strings.Cut(strings.TrimPrefix(url, "s3://"), "/")
	page, err := os.ReadFile(nixtest.Source(t, "docs/buckets.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n```json\n")
	policy, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatal("docs/buckets.md gives no policy")
	}
	policy = strings.ReplaceAll(policy, "arn:aws:s3:::BUCKET", "arn:aws:s3:::"+name)
	allowed := w.allowed(t, policy)
	w.bare(t, allowed, "sync", w.dir, url).Want(t, 0)
	treetest.Equal(t, treetest.OpenDir(t, w.dir), bucket)
	w.bare(t, allowed, "sync", "--delete", lessOf(t, w), url).Want(t, 0)
	whole(t, bucket)

	reader := w.allowed(t, strings.NewReplacer(`"s3:PutObject", `, "", `"s3:DeleteObject", `, "").Replace(policy))
	w.bare(t, reader, "verify", "--deep", url).Want(t, 0)
	wantHint(t, w.bare(t, reader, "sync", w.dir, url).Refused(t, "AccessDenied"), "docs/buckets.md")

	none := w.allowed(t, strings.ReplaceAll(policy, name, "another-bucket"))
	wantHint(t, w.bare(t, none, "sync", url, t.TempDir()).Refused(t, "AccessDenied"), "docs/buckets.md")
}

// allowed returns the environment of someone who may do what a policy says.
func (w *world) allowed(t *testing.T, policy string) []string {
	t.Helper()
	creds, err := credentials.NewSTSAssumeRole(w.store.Endpoint, credentials.STSAssumeRoleOptions{
		AccessKey: w.store.AccessKey, SecretKey: w.store.SecretKey, DurationSeconds: 3600, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	v, err := creds.GetWithContext(&credentials.CredContext{Client: http.DefaultClient})
	if err != nil {
		t.Fatal(err)
	}
	return []string{"AWS_ACCESS_KEY_ID=" + v.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + v.SecretAccessKey, "AWS_SESSION_TOKEN=" + v.SessionToken}
}
