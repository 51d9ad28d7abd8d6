// Package nixstore is the local Nix store as a source of store paths.
//
// Facts about a path (references, deriver, signatures, content address) come
// from the Nix daemon through its worker protocol, over the daemon's socket or
// over "nix-daemon --stdio", spawned where there is no socket. A process that may
// write the state directory of the store reads the database and holds paths itself,
// as a Nix does there, since a daemon takes long to start. The bytes of a
// path are read from the store directory.
//
// A Store promises:
//
//   - A path that Infos has answered for is not deleted by a garbage collector
//     before the Store is closed: it has a temporary root, taken before the
//     question. The roots of a daemon belong to the connection. If it dies they are
//     lost with it; the next call connects again and takes them again.
//   - A path that the store does not have is fs.ErrNotExist, and only that.
//   - Nothing the daemon sends is believed without a limit: every length, every
//     count and every path is checked.
//   - A call whose context ends returns at once. The reply to its request is still
//     read to its end behind the scenes, for a few seconds at most, so that the
//     connection and its roots survive.
//
// A Store gives up no root before it is closed, and looks up the derivations that
// Realisations needs only once. It is for one run: who watches a store opens a new one
// for every round.
//
// The protocol is spoken from version 1.21 (Nix 2.3) up to 1.38, the last that is
// numbered, with the one feature that Nix 2.35 added and this package needs.
// Source: worker-protocol.hh, worker-protocol-connection.cc and daemon.cc in Nix.
package nixstore
