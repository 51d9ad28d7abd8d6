// Package webdav is the HTTP face of a tree. So far it reads: GET and HEAD of
// public keys, straight from the files as they are at that moment.
package webdav
