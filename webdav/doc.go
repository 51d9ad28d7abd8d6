// Package webdav is the HTTP face of a tree: it reads it out to everyone, takes
// uploads for it, and shows it to WebDAV clients.
//
// Two URLs lead to one tree. "/" shows the tree as its files are at that moment;
// nothing can be changed there. The upload URL, "/upload/", shows what a client that
// uploads has to see: package inbox decides what is taken, and when readers see it.
// They are two URLs because a Nix that uploads remembers the narinfos it sent,
// unsigned, for 30 days under the URL it sent them to. With one URL for both it would
// substitute by them later, and refuse what it finds. If Config.UploadPrefix asks for
// one URL all the same, GET and HEAD answer from the tree to everyone, an Upstream is
// not asked (a reader would look for its NARs here), and what is held shows in PROPFIND
// alone.
//
// A path is decoded once, never cleaned and never redirected: Nix follows no
// redirect of a PUT, and what is not a key byte for byte does not exist.
//
// GET, HEAD and PUT are answered here. golang.org/x/net/webdav never sees them,
// since it writes into the very file that readers have open; it answers LOCK,
// UNLOCK and MKCOL over a view of the inbox. PROPFIND is streamed here too: the
// library holds a whole folder in memory and takes three times as long. So is
// PROPPATCH answered: the library makes a gigabyte of a small body. DELETE, MOVE and COPY are refused, as what removes objects has to know
// what leads to them.
//
// # Answers to an upload
//
// Every Nix shows a body of one short line. It gives up on most 4xx at once, and
// on 501; it tries again after 408, 429 and the rest of 5xx. But a Nix before
// 2.33.2 cannot send a body twice: it announces it again, sends nothing, and
// waits. Such a client therefore gets no answer that it would take for an
// invitation, unless it waits for 100 Continue and has sent nothing yet: trouble
// of ours is 501 to it, and 503 or 507 to everyone else. To no one is a held
// narinfo 202, which every Nix takes for failure.
//
// A refusal is 4xx with the one line, see status.go for the table. An upload that can
// be refused by its name and size is refused before its body is read.
package webdav
