// Package s3 makes a bucket of an object store a layout.Tree. It speaks what
// all stores that call themselves S3 have in common: Amazon's, MinIO, Garage,
// SeaweedFS, R2 and their like, and no call that only one of them knows.
//
// A bucket is named as Nix names it (see ParseURL), and a user of the AWS tools
// finds their settings used: the environment, profiles, web identities, the role
// of a container or an instance (see Open). If there are no credentials at all,
// requests go out unsigned, and the Bucket says so.
//
// This holds for every object:
//
//   - A key of the tree is a key of the bucket, behind the prefix of the URL.
//   - Content-Type and Cache-Control follow from the kind of the key.
//   - The store is told the SHA-256 of the bytes and refuses others (I1). For a
//     NAR it is the one its name promises, so nothing is read twice.
//   - A Put is one request. A NAR larger than PartThreshold goes up in parallel
//     parts, each with its own SHA-256, and appears when the last is there. If
//     it breaks off, the next Put of the same NAR goes on where it stopped;
//     Leftovers tells what was never gone on with.
//   - PutOptions become If-None-Match and If-Match, and the store decides:
//     several writers need nothing else to agree. Probe finds out whether a
//     store keeps to them, AssumeOneWriter is for those that do not.
//
// Every request that failed for a reason that may pass is made again, with a
// pause that grows. A Put whose answer was lost may have happened: before it is
// made again the bucket is asked whose bytes are there. A conditional Put of an
// object that may change carries a random x-amz-meta-nixstatic-put for this, so
// that equal bytes of someone else are not taken for ours.
//
// Credentials that the store does not take are looked up again, and the request
// is made again if there are others by now: roles and processes give new ones,
// and the file of a profile may have changed. Else the error is ErrCredentials;
// ErrDenied says that they are good and not enough, ErrClock that the store
// thinks it is another day.
//
// A store that answers 403 for an object does not say whether it exists, and
// neither do we (I5): the error is fs.ErrPermission. Amazon answers so for absent
// objects if the client may not list the bucket.
package s3
