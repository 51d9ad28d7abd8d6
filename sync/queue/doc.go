// Package queue keeps store paths that are to be sent, as files, so that what was
// built is sent whatever dies meanwhile.
//
// A queue is a directory:
//
//	new/<name>        a symbolic link to a store path, as a builder left it
//	work/<name>       the same, seen by the process that drains
//	strange/<name>    a file that was in the place of an entry and is none
//	missed            its time of change says since when a builder could not add;
//	                  the epoch says that none was missed
//	lock              locked (flock) by the process that drains
//	wake              touched by who wants waiting paths to be tried at once
//	status            what the process that drains has to tell, JSON
//	settings          where to, and how, JSON
//	post-build-hook   a link to nixstatic, for nix.conf
//
// The name of a link is its entry: it appears in one step, it is there once however
// often the path is built, and it needs no byte of its own on most file systems.
// Adding takes no lock. Each function may be killed at any instant.
package queue
