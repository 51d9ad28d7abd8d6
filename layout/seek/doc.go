// Package seek opens one file of a NAR in a cache without reading the rest.
//
// The listing of a path tells where a file begins in the NAR, and which frames of
// the compressed file hold it (docs/listings.md): those alone are asked for, and
// decompressed. If the listing tells of no frames the NAR is read from its start,
// as far as the file; if there is no listing, until the file is found.
//
// A listing is not signed, and neither is a part of a NAR. Nothing that a listing
// says is believed beyond the sizes in the record, and before the first byte of a file
// is given out, what stands before it in the NAR is compared with the listing: its
// name, whether it is executable, and its size. If that differs, the NAR is read
// from its start. Only a pass to the end of the NAR, with its hash, proves that the
// bytes are those that were signed: see Archive.Whole.
//
// The package reads only.
package seek
