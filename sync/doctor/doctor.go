package doctor

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/signer"
	"github.com/nixstatic/nixstatic/sync/nixconf"
	"github.com/nixstatic/nixstatic/sync/nixstore"
)

// A Level says what a finding means.
type Level string

const (
	Failure Level = "failure" // Nix does not use the cache, or not rightly
	Warning Level = "warning" // it does, and something else suffers
)

// A Finding is one thing that is wrong.
type Finding struct {
	Check string `json:"check"`
	Fault string `json:"fault"` // stays the same from version to version
	Cache string `json:"cache,omitempty"`
	Level Level  `json:"level"`
	What  string `json:"what"`
	Why   string `json:"why"`  // it matters
	Cure  string `json:"cure"` // a command, or what to do
}

// A Gap is what a check could not find out.
type Gap struct {
	Check  string `json:"check"`
	Cache  string `json:"cache,omitempty"`
	Reason string `json:"reason"`
}

// A Report is what all checks found.
type Report struct {
	Checked   []string  `json:"checked"` // names of checks, in their order
	Findings  []Finding `json:"findings"`
	Unchecked []Gap     `json:"unchecked"`
}

// Failed reports whether something keeps Nix from using the cache.
func (r *Report) Failed() bool {
	for _, f := range r.Findings {
		if f.Level == Failure {
			return true
		}
	}
	return false
}

// A Config says what to look at.
type Config struct {
	URL  string           // the cache, as a list of substituters names it; "" for the settings alone
	Tree layout.Tree      // the tree behind it, whose serving side is looked at instead; may be nil
	Path layout.StorePath // that Nix builds; "" for none
	Deep bool             // read its NAR

	StoreDir string
	Files    nixconf.Files
	// Memories are the folders in which Nixes keep what they remember of caches; nil
	// for those of this user and, where there is a daemon, of root.
	Memories []Memory
	// Open opens another cache of the list of substituters.
	Open func(ctx context.Context, url, netrc string) (layout.Reader, error)
	// Asked is told of each question to a cache; may be nil.
	Asked func()

	UserAgent string
	now       func() time.Time // nil but in tests
}

// A check looks at one thing.
type check struct {
	name   string
	advice string // why the thing matters
	needs  need
	run    func(context.Context, *patient)
}

// A need is what a check is about, without which it is left out.
type need int

const (
	machine need = 1 << iota // the settings of this machine
	named                    // a cache of the list of substituters
	answers                  // a cache that answers
	web                      // one behind a web server
	path                     // a path
	tree                     // the tree itself
)

// checks are in the order in which things go wrong.
var checks = []check{
	{"settings", "a line that Nix cannot read ends every command of it", machine, checkSettings},
	{"substitutes", "Nix asks no cache at all", machine, checkSubstitutes},
	{"reachable", "a cache that does not answer is passed over, after a wait", named, checkReachable},
	{"clock", "certificates, tokens and signed URLs are good for a time, and what Nix remembers too", web | answers, checkClock},
	{"login", "Nix takes a cache that asks for a password, and gets none, for one that is empty or broken", web | answers | machine, checkLogin},
	{"cache-info", "Nix reads it first, and uses the cache only if it is right", answers, checkCacheInfo},
	{"missing", "Nix asks every cache for every path: what is not there has to be a plain 404", web | answers, checkMissing},
	{"head", "nix path-info and nix copy ask by HEAD", web | answers, checkHead},
	{"substituter", "Nix uses the caches that its settings name, and a daemon only those that it may use for this user", machine, checkSubstituter},
	{"daemon", "the daemon reads its settings when it starts", machine, checkDaemon},
	{"keys", "Nix takes a path only if a key that it trusts has signed it", answers, checkKeys},
	{"path", "Nix builds what it finds in no cache", answers | path, checkPath},
	{"signature", "Nix passes over a path that no trusted key has signed, and builds it", answers | path, checkSignature},
	{"references", "Nix takes a path only with all that it refers to", answers | path, checkReferences},
	{"nar", "the narinfo of a path is of no use without its archive", answers | path, checkNAR},
	{"unchanged", "what is compressed again on the way is slower, cannot be gone on with, and fails in some versions of Nix", web | answers, checkUnchanged},
	{"ranges", "a large download that breaks off starts anew, or fails", web | answers, checkRanges},
	{"remembered", "Nix remembers what a cache has for a month, and what it has not for an hour, and does not ask again", web | answers | machine, checkRemembered},
	{"tree", "a web server can only give out what it can read", tree, checkTree},
}

// Names returns the names of all checks, in their order.
func Names() []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.name)
	}
	return names
}

// A patient is what the checks look at, and what they know of it so far.
type patient struct {
	Config
	report *Report
	now    func() time.Time

	check *check         // that runs
	count map[string]int // findings by fault

	// The machine.
	mine, system *nixconf.Config
	access       nixstore.Access
	silent       error // of the daemon
	view         view

	// The cache.
	web       *asker
	reader    layout.Reader
	unopened  error // why there is none
	dead      bool  // nothing more can be learned from it
	private   bool  // it wants a password
	hasInfo   bool
	published signer.Trusted
	unused    bool // it is not among the substituters
	keysTold  bool // a finding about keys was made
	record    *layout.NarInfo
	tables    []*memoryTable
}

// Run looks at everything. An error says that the looking itself failed.
func Run(ctx context.Context, c Config) (*Report, error) {
	p := &patient{Config: c, report: &Report{Checked: []string{}, Findings: []Finding{}, Unchecked: []Gap{}}, now: c.now, count: map[string]int{}}
	if p.now == nil {
		p.now = time.Now
	}
	if p.StoreDir == "" {
		p.StoreDir = layout.DefaultStoreDir
	}
	if err := p.examine(ctx); err != nil {
		return nil, err
	}
	defer p.close()
	for i := range checks {
		if p.check = &checks[i]; !p.has(p.check.needs) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.report.Checked = append(p.report.Checked, p.check.name)
		p.check.run(ctx, p)
	}
	for fault, n := range p.count {
		if n > maxOfAKind {
			p.unchecked("%s was found %d times, of which %d are told", fault, n, maxOfAKind)
		}
	}
	return p.report, ctx.Err()
}

// examine learns what all checks need to know.
func (p *patient) examine(ctx context.Context) error {
	if p.Tree != nil {
		p.reader = p.Tree
		return nil
	}
	p.readSettings(ctx)
	if p.Memories == nil {
		p.Memories = memories(p.access.Daemon)
	}
	if p.URL == "" {
		p.dead = true
		return nil
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		return fmt.Errorf("URL of the cache: not a URL")
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		u.RawQuery = ""
		p.web = newAsker(u, p.UserAgent, p.view.conf.Get("ssl-cert-file"), p.Asked)
	}
	if p.reader, err = p.Open(ctx, p.URL, p.view.netrc); err != nil && p.web != nil {
		// The netrc is at fault, which its check tells.
		p.reader, err = p.Open(ctx, p.URL, "/dev/null")
	}
	p.unopened = err
	return nil
}

func (p *patient) close() {
	for _, t := range p.tables {
		t.close()
	}
}

// has reports whether there is what a check is about.
func (p *patient) has(n need) bool {
	switch {
	case n&tree != 0 && p.Tree == nil, n&machine != 0 && p.Tree != nil:
		return false
	case n&named != 0 && p.URL == "", n&web != 0 && p.web == nil, n&path != 0 && p.Path == "":
		return false
	case n&answers != 0 && p.dead:
		return false
	}
	return true
}

// maxOfAKind is how many findings of one fault are told. The rest is counted.
const maxOfAKind = 10

func (p *patient) find(level Level, fault, cure, format string, args ...any) {
	if p.count[fault]++; p.count[fault] > maxOfAKind {
		return
	}
	p.report.Findings = append(p.report.Findings, Finding{
		Check: p.check.name, Fault: fault, Cache: p.URL, Level: level,
		What: fmt.Sprintf(format, args...), Why: p.check.advice, Cure: cure,
	})
}

func (p *patient) fail(fault, cure, format string, args ...any) {
	p.find(Failure, fault, cure, format, args...)
}

func (p *patient) warn(fault, cure, format string, args ...any) {
	p.find(Warning, fault, cure, format, args...)
}

// unchecked tells what could not be found out.
func (p *patient) unchecked(format string, args ...any) {
	p.report.Unchecked = append(p.report.Unchecked, Gap{p.check.name, p.URL, fmt.Sprintf(format, args...)})
}
