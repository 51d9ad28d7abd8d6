package layout

import (
	"fmt"
	"strings"
)

// Private keys are never served. All of them are here, so that a new one meets
// none of the others.
const (
	// PrivatePrefix begins every private key. A mirror copies none of them but the
	// upstreams and their narinfos, see Provision.
	PrivatePrefix = ".nixstatic/"

	// UpstreamsKey is JSON: the caches that provide what the tree refers to and does
	// not have, with their public keys.
	UpstreamsKey Key = PrivatePrefix + "upstreams"
	// ProvisionsPrefix begins UpstreamsKey and the keys of ProvisionKey, and no others.
	ProvisionsPrefix = PrivatePrefix + "upstream"
	provisionPrefix  = ProvisionsPrefix + "/"

	// HeldPrefix begins the narinfos that were uploaded and wait for their NARs or
	// references.
	HeldPrefix = PrivatePrefix + "held/"
	// PiecesPrefix begins the pieces of NARs that wait for the rest of them.
	PiecesPrefix = PrivatePrefix + "pieces/"
	// StagingPrefix begins the unfinished files of a directory: a folder for each
	// process, and beside it a file that is locked while the process lives.
	StagingPrefix = PrivatePrefix + "staging/"
	// ProbePrefix begins what is put into a bucket to find out which conditions its
	// store keeps to, and removed at once.
	ProbePrefix = PrivatePrefix + "probe/"

	// RunLockKey and RunLeaseKey are how runs that remove take turns: a file with a
	// flock in a directory, an object that is renewed in a bucket.
	RunLockKey  Key = PrivatePrefix + "sync.lock"
	RunLeaseKey Key = PrivatePrefix + "sync-lease"

	// PlanKey is where a tree that is swept keeps its SweepPlan.
	PlanKey Key = PrivatePrefix + "gc/plan"
	// ListsPrefix begins what is condemned in a bucket: <round>/<slice>, a SweepList each.
	ListsPrefix = PrivatePrefix + "gc/lists/"
	// NotesPrefix begins the notes of writers that rely on something condemned:
	// <round>/<random>, a key on each line.
	NotesPrefix = PrivatePrefix + "gc/notes/"
	// ClockKey is put by a run in a bucket to learn what time it is there.
	ClockKey Key = PrivatePrefix + "gc/clock"
	// CondemnedKey is what the last run of gc found dead, and since when.
	CondemnedKey Key = PrivatePrefix + "gc/condemned"
	// WithdrawnPrefix begins the records of what was withdrawn, with its text:
	// <epoch>/<part>.
	WithdrawnPrefix = PrivatePrefix + "gc/withdrawn/"
	// RunsPrefix begins the accounts of runs of gc that removed something.
	RunsPrefix = PrivatePrefix + "gc/runs/"
	// PinHistoryPrefix begins the generations of pins. The newest of each is public
	// besides, at PinKey.
	PinHistoryPrefix = PrivatePrefix + PinsFolder

	// PolicyKey is text: the rules by which paths stay in the tree, see gc.Policy.
	PolicyKey Key = PrivatePrefix + "policy"

	// gateLock and gateWay are the files by which a directory keeps writers and
	// sweepers apart, see Dir.Gate.
	gateLock Key = PrivatePrefix + "gc/lock"
	gateWay  Key = PrivatePrefix + "gc/next"
	// UsedPrefix begins what tells which paths were read: <day>/<writer>, see package
	// uses.
	UsedPrefix = PrivatePrefix + "used/"

	// RootsPrefix begins the lists of what runs rely on: <name>/@<run>/<list>, see
	// package roots.
	RootsPrefix = PrivatePrefix + "roots/"
	// PageKey is JSON: how the page for browsers is to be. A tree has a page of ours,
	// which writers keep current, if and only if this is there.
	PageKey Key = PrivatePrefix + "page"
	// PageBehindKey is there while paths come that the page does not show yet.
	PageBehindKey Key = PrivatePrefix + "page-behind"

	// QuarantinePrefix begins what a check found wrong and took out of the tree, see
	// QuarantineKey. Nothing removes it.
	QuarantinePrefix = PrivatePrefix + "quarantine/"

	// writeLock is a file of a directory. A writer that replaces what it has read
	// holds a flock on it between its last look and the rename.
	writeLock Key = PrivatePrefix + "lock"
)

// ProvisionKey is where an upstream's narinfo of p is.
func ProvisionKey(p StorePath) Key { return Key(provisionPrefix + p.Hash() + ".narinfo") }

// ProvisionHash returns the hash of the path whose narinfo by an upstream is at
// the key, and "" for every other key.
func (k Key) ProvisionHash() string {
	rest, ok := strings.CutPrefix(string(k), provisionPrefix)
	hash, isNarInfo := strings.CutSuffix(rest, ".narinfo")
	if !ok || !isNarInfo || checkHash(hash) != nil {
		return ""
	}
	return hash
}

// QuarantineKey is where an object is kept that was set aside; n is how many others of
// that name with other bytes were set aside before.
func QuarantineKey(key Key, n int) Key {
	if n == 0 {
		return QuarantinePrefix + key
	}
	return Key(fmt.Sprintf("%s%s~%d", QuarantinePrefix, key, n))
}

// QuarantineReason is where it is told why an object was set aside.
func QuarantineReason(key Key) Key { return key + ".why" }
