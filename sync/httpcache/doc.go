// Package httpcache is a binary cache behind a web server: a Reader of its
// objects, a WebDAV that lists them where the server answers PROPFIND, and a
// PutServer that takes them by PUT. It knows no store paths.
package httpcache
