package s3

import (
	"encoding/xml"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Answers of a MinIO, of Amazon, and of a store that writes what it need not.
var pages = []string{
	`<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>cache</Name><Prefix></Prefix><NextContinuationToken>MDBrNA==&lt;x&gt;</NextContinuationToken><KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><Delimiter></Delimiter><IsTruncated>true</IsTruncated><Contents><Key>00k4.ls</Key><LastModified>2026-11-23T09:46:04.123Z</LastModified><ETag>&#34;0123456789abcdef0123456789abcdef&#34;</ETag><Size>162</Size><StorageClass>STANDARD</StorageClass></Contents><Contents><Key>build-trace-v2/a%21b+c%2Bd.doi</Key><LastModified>2026-11-23T09:46:04Z</LastModified><ETag>&#34;0123456789abcdef0123456789abcdef-2&#34;</ETag><Size>0</Size><Owner><ID></ID><DisplayName></DisplayName></Owner><StorageClass>STANDARD</StorageClass></Contents><EncodingType>url</EncodingType></ListBucketResult>`,
	`<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>cache</Name><Prefix/><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated><Contents><Key>nix-cache-info</Key><LastModified>2026-11-23T09:46:04.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><ChecksumAlgorithm>SHA256</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>46</Size><StorageClass>STANDARD</StorageClass></Contents></ListBucketResult>`,
	`<ListBucketResult>
  <IsTruncated>false</IsTruncated>
  <Contents>
    <Key>a%26&amp;b</Key>
    <Size>7</Size>
    <ETag>"x"</ETag>
  </Contents>
  <CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes>
</ListBucketResult>`,
	`<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>cache</Name><Prefix></Prefix><KeyCount>4</KeyCount><MaxKeys>1000</MaxKeys><Delimiter>%2F</Delimiter><IsTruncated>false</IsTruncated><Contents><Key>index.html</Key><LastModified>2026-11-23T09:46:04Z</LastModified><ETag>&#34;0123456789abcdef0123456789abcdef&#34;</ETag><Size>0</Size></Contents><Contents><Key>nix-cache-info</Key><LastModified>2026-11-23T09:46:04Z</LastModified><ETag>&#34;0123456789abcdef0123456789abcdef&#34;</ETag><Size>0</Size></Contents><CommonPrefixes><Prefix>a%2Bb/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>nar/</Prefix></CommonPrefixes><EncodingType>url</EncodingType></ListBucketResult>`,
	`<?xml version="1.0"?><ListBucketResult xmlns="x"><IsTruncated>false</IsTruncated></ListBucketResult>`,
}

// standard reads a page with encoding/xml.
func standard(text string) (*page, error) {
	var r struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string
		EncodingType          string
		Contents              []struct {
			Key, ETag    string
			Size         int64
			LastModified string
		}
		CommonPrefixes []struct{ Prefix string }
	}
	if err := xml.Unmarshal([]byte(text), &r); err != nil {
		return nil, err
	}
	p := &page{next: r.NextContinuationToken, objects: []listed{}}
	for _, c := range r.Contents {
		o := listed{name: c.Key, etag: strings.Trim(c.ETag, `"`), size: c.Size}
		if c.LastModified != "" {
			var err error
			if o.modified, err = time.Parse(time.RFC3339Nano, c.LastModified); err != nil {
				return nil, err
			}
		}
		p.objects = append(p.objects, o)
	}
	for _, c := range r.CommonPrefixes {
		p.objects = append(p.objects, listed{name: c.Prefix})
	}
	for i := range p.objects {
		if r.EncodingType == "url" {
			var err error
			if p.objects[i].name, err = url.QueryUnescape(p.objects[i].name); err != nil {
				return nil, err
			}
		}
	}
	if len(r.CommonPrefixes) > 0 {
		slices.SortFunc(p.objects, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	}
	return p, nil
}

func TestParsePage(t *testing.T) {
	for _, text := range pages {
		got, err := parsePage([]byte(text))
		if err != nil {
			t.Errorf("%v: %s", err, text)
			continue
		}
		want, err := standard(text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(page{}, listed{})); diff != "" {
			t.Errorf("(-standard +quick):\n%s", diff)
		}
	}
	object := "<Contents><Key>a</Key><Size>1</Size></Contents>"
	for _, text := range []string{
		"", "<", "<Error><Code>SlowDown</Code></Error>", pages[1][:len(pages[1])-10],
		"<ListBucketResult>" + object, "<ListBucketResult/>", "<ListBucketResults>" + object + "</ListBucketResult>",
		"<ListBucketResult><!-- x -->" + object + "</ListBucketResult>",
		"<ListBucketResult><IsTruncated>true</IsTruncated>" + object + "</ListBucketResult>",
		"<ListBucketResult><NextContinuationToken>x</NextContinuationToken>" + object + "</ListBucketResult>",
		"<ListBucketResult><x:Contents><Key>a</Key></x:Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key><![CDATA[a]]></Key><Size>1</Size></Contents></ListBucketResult>",
		"<ListBucketResult><Contents><Key>&unknown;</Key><Size>1</Size></Contents></ListBucketResult>",
		"<ListBucketResult><CommonPrefixes></CommonPrefixes></ListBucketResult>",
		"<ListBucketResult><CommonPrefixes><Prefix>no-folder</Prefix></CommonPrefixes></ListBucketResult>",
		"<ListBucketResult><CommonPrefixes><Prefix>a/</Prefix><Prefix>b/</Prefix></CommonPrefixes></ListBucketResult>",
		"<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%</Key><Size>1</Size></Contents></ListBucketResult>",
	} {
		if p, err := parsePage([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", text, p)
		}
	}
}

// FuzzParsePage: what both readers take, they understand alike.
func FuzzParsePage(f *testing.F) {
	for _, text := range pages {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parsePage([]byte(text))
		if err != nil {
			return
		}
		want, err := standard(text)
		if err != nil {
			return
		}
		if diff := cmp.Diff(want.objects, got.objects, cmp.AllowUnexported(listed{})); diff != "" && !strings.Contains(text, "\r") {
			t.Errorf("(-standard +quick):\n%s", diff)
		}
	})
}

func BenchmarkParsePage(b *testing.B) {
	head, rest, _ := strings.Cut(pages[0], "<Contents>")
	one, tail, _ := strings.Cut("<Contents>"+rest, "<Contents><Key>build")
	text := []byte(head + strings.Repeat(one, pageSize) + "<Contents><Key>build" + tail)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parsePage(text); err != nil {
			b.Fatal(err)
		}
	}
}
