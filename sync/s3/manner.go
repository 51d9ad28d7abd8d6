package s3

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// A manner is how a store is told the SHA-256 of an object: as a checksum, which
// it keeps and checks if it knows of checksums, and as the hash of the request's
// body, which every store checks. The first Put says both.
//
// A store whose answer repeats the checksum knows of it. The checksum alone is
// sent then, as one of the headers that are signed, since hashing twice is an
// eighth of the work that a MinIO has with an object. A store that refuses the
// header of a checksum is sent the hash of the body alone.
type manner int32

const (
	hashTwice   manner = iota // nothing is known yet, or the store says nothing of checksums
	hashOnce                  // the store checks checksums
	hashSigned                // it does, and wants the hash of the body signed nevertheless
	hashPayload               // it refuses checksums
)

func (m manner) checksum() bool { return m != hashPayload }

// payload returns the hash to sign as that of a body, "" for none.
func (m manner) payload(sum layout.Hash) string {
	if m == hashOnce {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// next is the manner to try where a store refuses this one.
func (m manner) next() (next manner, ok bool) {
	switch m {
	case hashOnce:
		return hashSigned, true
	case hashPayload:
		return m, false
	}
	return hashPayload, true
}

// refused reports whether a request may have been refused for its manner.
func (m manner) refused(err error) bool {
	var e *refusal
	if m == hashOnce && errors.As(err, &e) {
		switch e.code {
		case "AccessDenied", "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch":
			return true
		}
	}
	return unknown(err)
}

// inManner makes a request in the manner that the store is known to take, and in
// others until it takes one, which is remembered.
func (b *Bucket) inManner(request func(manner) error) error {
	m := b.manner()
	err := request(m)
	for m.refused(err) {
		next, ok := m.next()
		if !ok {
			break
		}
		m = next
		if again := request(m); !m.refused(again) {
			b.known.Store(int32(m))
			b.log.Debug("the store refuses a way of telling it the hash", "error", err)
			return again
		}
	}
	return err
}

func (b *Bucket) manner() manner { return manner(b.known.Load()) }

// learn takes in the answer to a Put.
func (b *Bucket) learn(m manner, sum layout.Hash, answer minio.UploadInfo) {
	if m == hashTwice && answer.ChecksumSHA256 == base64.StdEncoding.EncodeToString(sum[:]) {
		b.known.CompareAndSwap(int32(hashTwice), int32(hashOnce))
	}
}

// unknown reports whether a store may have refused a request for a header or a
// parameter that it does not know. Stores have many codes for that, and some of
// Amazon's that mean something else are told apart.
func unknown(err error) bool {
	var e *refusal
	if !errors.As(err, &e) || e.is != nil || mismatch(e) {
		return false
	}
	switch e.code {
	case "NotImplemented", "NotSupported":
		return true
	case "IncompleteBody", "RequestTimeout", "EntityTooLarge", "EntityTooSmall", "MetadataTooLarge",
		"MissingContentLength", "InvalidStorageClass", "InvalidPart", "InvalidPartOrder", "MalformedXML":
		return false
	}
	return e.status == http.StatusNotImplemented || e.status == http.StatusBadRequest
}

// A noConditions error says that a store takes no conditions with a Put. It is
// errors.ErrUnsupported.
type noConditions struct{ said error } // by the store; nil if it was not asked again

func (e *noConditions) Error() string {
	text := "the store does not support conditional writes (If-None-Match, If-Match)"
	if e.said != nil {
		text += ": " + e.said.Error()
	}
	return text
}

func (e *noConditions) Unwrap() []error {
	if e.said == nil {
		return []error{errors.ErrUnsupported}
	}
	return []error{errors.ErrUnsupported, e.said}
}

// unconditional turns the refusal of a condition into a noConditions error, which
// is the answer to all further ones.
func (b *Bucket) unconditional(u *upload, err error) error {
	if !u.conditional() || !unknown(err) {
		return err
	}
	b.refuses.Store(true)
	b.log.Debug("the store refuses conditions", "error", err)
	return &noConditions{err}
}
