package s3

import (
	"encoding/base64"
	"encoding/hex"
	"errors"

	"github.com/minio/minio-go/v7"

	"github.com/nixstatic/nixstatic/layout"
)

// A store is told the SHA-256 of an object twice: as a checksum, which it keeps
// and checks if it knows of checksums, and as the hash of the request's body,
// which every store checks. Whether it knows of checksums shows in its answer,
// which repeats them. Then the checksum alone is sent, as one of the headers that
// are signed, since to hash twice is an eighth of the work that a MinIO has with
// an object.
const (
	hashTwice  int32 = iota // not known yet, or the store knows of no checksums
	hashOnce                // it does
	hashSigned              // it does, and wants the other one nevertheless
)

// payload returns the hash to sign as that of a body, "" for none.
func (b *Bucket) payload(sum layout.Hash) string {
	if b.hashing.Load() == hashOnce {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// learn takes in the answer to a Put that was sent with payload.
func (b *Bucket) learn(payload string, sum layout.Hash, answer minio.UploadInfo, err error) {
	if err == nil && payload != "" && answer.ChecksumSHA256 == base64.StdEncoding.EncodeToString(sum[:]) {
		b.hashing.CompareAndSwap(hashTwice, hashOnce)
	}
}

// wantsPayload reports whether a Put was perhaps refused because the hash of its
// body was not signed.
func wantsPayload(payload string, err error) bool {
	var e *refusal
	if payload != "" || !errors.As(err, &e) {
		return false
	}
	switch e.code {
	case "AccessDenied", "InvalidArgument", "InvalidRequest", "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch":
		return true
	}
	return false
}
