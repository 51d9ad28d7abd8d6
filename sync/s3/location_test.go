package s3

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]Location{
		"s3://bucket":                  {Bucket: "bucket"},
		"s3://bucket/":                 {Bucket: "bucket"},
		"s3://bucket/pre/fix/":         {Bucket: "bucket", Prefix: "pre/fix"},
		"s3://bucket/with%20blank":     {Bucket: "bucket", Prefix: "with blank"},
		"s3://bucket?region=eu-west-1": {Bucket: "bucket", Options: Options{Region: "eu-west-1"}},
		"s3://bucket?scheme=http":      {Bucket: "bucket", Options: Options{Endpoint: "http://s3.amazonaws.com"}},
		"s3://b.ucket?profile=ci":      {Bucket: "b.ucket", Options: Options{Profile: "ci"}},
		// People write this first, and a URL parser takes a part of it for a
		// scheme.
		"s3://bucket?endpoint=localhost:9000&scheme=http":         {Bucket: "bucket", Options: Options{Endpoint: "http://localhost:9000"}},
		"s3://bucket?endpoint=localhost:9000":                     {Bucket: "bucket", Options: Options{Endpoint: "https://localhost:9000"}},
		"s3://bucket?endpoint=minio.example.org":                  {Bucket: "bucket", Options: Options{Endpoint: "https://minio.example.org"}},
		"s3://bucket?endpoint=http://127.0.0.1:9000/":             {Bucket: "bucket", Options: Options{Endpoint: "http://127.0.0.1:9000"}},
		"s3://bucket?endpoint=http%3A%2F%2F%5B::1%5D:9000":        {Bucket: "bucket", Options: Options{Endpoint: "http://[::1]:9000"}},
		"s3://bucket?endpoint=http://h:1&scheme=http":             {Bucket: "bucket", Options: Options{Endpoint: "http://h:1"}},
		"s3://bucket?addressing-style=auto":                       {Bucket: "bucket"},
		"s3://bucket?addressing-style=path&storage-class=GLACIER": {Bucket: "bucket", Options: Options{Addressing: "path", StorageClass: "GLACIER"}},
		"s3://bucket?multipart-upload=false":                      {Bucket: "bucket", Options: Options{PartThreshold: -1}},
		"s3://bucket?multipart-upload=true":                       {Bucket: "bucket"},
		"s3://bucket?multipart-threshold=9000000":                 {Bucket: "bucket", Options: Options{PartThreshold: 9000000}},
		"s3://bucket?buffer-size=6000000":                         {Bucket: "bucket", Options: Options{PartSize: 6000000}},
		"s3://bucket?one-writer=true":                             {Bucket: "bucket", Options: Options{OneWriter: true}},
		"s3://bucket?one-writer=false":                            {Bucket: "bucket"},
		"s3://bucket?multipart-chunk-size=1":                      {Bucket: "bucket", Options: Options{PartSize: minPartSize}},
	} {
		got, err := ParseURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", raw, diff)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"https://bucket":                             "not an s3:// URL",
		"s3:bucket":                                  "not an s3:// URL",
		"s3://":                                      "empty",
		"s3:///prefix":                               "empty",
		"s3://ab":                                    "shorter than 3",
		"s3://bucket:9000/x":                         "goes into ?endpoint=",
		"s3://bucket/a//b":                           "empty or dot component",
		"s3://bucket/../b":                           "empty or dot component",
		"s3://bucket/%zz":                            "not a URL",
		"s3://bucket#x":                              "not a URL",
		"s3://bucket?%zz":                            "query",
		"s3://bucket?regoin=eu":                      "regoin is no parameter of it; known are endpoint",
		"s3://bucket?region=a&region=b":              "region is given 2 times",
		"s3://bucket?scheme=ftp":                     "scheme=ftp: choose http or https",
		"s3://bucket?endpoint=ftp://h":               "want host:port",
		"s3://bucket?endpoint=http://":               "want host:port",
		"s3://bucket?endpoint=https://h/base":        "a path in it is not supported",
		"s3://bucket?endpoint=http://h&scheme=https": "contradicts",
		"s3://bucket?addressing-style=dns":           "choose one of auto, path, virtual",
		"s3://bucket?one-writer=perhaps":             "choose true or false",
		"s3://bucket?buffer-size=big":                "want a number of bytes",
		"s3://bucket?multipart-threshold=-1":         "want a number of bytes",
	} {
		if got, err := ParseURL(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v, want an error with %q", raw, got, err, want)
		}
	}
}

// A secret that a person wrote into a URL is not repeated to the log.
func TestParseURLKeepsSecrets(t *testing.T) {
	for _, raw := range []string{
		"s3://AKIA:topsecret@bucket", "s3://AKIA:topsecret@bucket/%zz", "s3://bucket?endpoint=https://AKIA:topsecret@host",
	} {
		_, err := ParseURL(raw)
		if err == nil || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, raw := range []string{
		"s3://bucket", "s3://bucket/pre/fix?endpoint=localhost:9000&scheme=http&region=eu-west-1&profile=ci",
		"s3://bucket?addressing-style=path&multipart-upload=true&buffer-size=1", "s3://u:p@b", "s3://bucket?endpoint=http://[::1]:1",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		loc, err := ParseURL(raw)
		if err != nil {
			return
		}
		// Its String leads to the same place.
		again, err := ParseURL(loc.String())
		if err != nil || again.Bucket != loc.Bucket || again.Prefix != loc.Prefix {
			t.Errorf("%q is %q, which is %+v, %v", raw, loc, again, err)
		}
	})
}
