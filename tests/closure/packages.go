package main

import (
	"bufio"
	"crypto/sha1"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/nix-community/go-nix/pkg/nixbase32"
)

// A record of dpkg-query -W -f with these fields, separated by '|':
//
//	db:Status-Abbrev binary:Package Package Version Architecture
//	Installed-Size Provides Pre-Depends Depends
//
// '|' also separates alternatives, so the two dependency fields come last and
// are separated from each other by "||".
const fieldsBeforeDepends = 7

// A pkg is one installed package.
type pkg struct {
	key     string // what dpkg-query answers to: name, or name:arch
	name    string
	version string
	arch    string
	size    int64 // bytes, as the package claims
	depends [][]string

	refs []*pkg // filled by order: what its store path refers to
}

type packages struct {
	sorted   []*pkg            // in input order, which dpkg-query sorts
	named    map[string]*pkg   // by package name
	provided map[string][]*pkg // by provided name
}

func readPackages(in io.Reader) (*packages, error) {
	all := &packages{named: map[string]*pkg{}, provided: map[string][]*pkg{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.SplitN(lines.Text(), "|", fieldsBeforeDepends+1)
		if len(f) != fieldsBeforeDepends+1 {
			return nil, fmt.Errorf("read package %q: %d fields", lines.Text(), len(f))
		}
		if f[0] != "ii " {
			continue // removed, or half installed
		}
		kib, err := strconv.ParseInt(f[5], 10, 64)
		if err != nil {
			continue // a metapackage that was made on this machine
		}
		p := &pkg{key: f[1], name: f[2], version: f[3], arch: f[4], size: kib << 10}
		for _, clause := range strings.Split(strings.ReplaceAll(f[7], "||", ","), ",") {
			if names := alternatives(clause); len(names) > 0 {
				p.depends = append(p.depends, names)
			}
		}
		if all.named[p.name] != nil {
			continue // the same package for a foreign architecture
		}
		all.sorted = append(all.sorted, p)
		all.named[p.name] = p
		for _, clause := range strings.Split(f[6], ",") {
			for _, name := range alternatives(clause) {
				all.provided[name] = append(all.provided[name], p)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read packages: %w", err)
	}
	if len(all.sorted) == 0 {
		return nil, fmt.Errorf("read packages: none is installed")
	}
	return all, nil
}

// alternatives returns the names of a clause such as "a (>= 1) | b:any".
func alternatives(clause string) []string {
	var names []string
	for _, alt := range strings.Split(clause, "|") {
		if f := strings.Fields(alt); len(f) > 0 {
			name, _, _ := strings.Cut(f[0], ":")
			names = append(names, name)
		}
	}
	return names
}

// storeName is the base name of the package's store path. The hash part is as
// arbitrary as that of any input-addressed path: it names the package's version.
func (p *pkg) storeName() string { return p.hashed("", "") }

// deriverName is "-" for packages of plain data: paths without a deriver exist.
func (p *pkg) deriverName() string {
	if p.arch == "all" {
		return "-"
	}
	return p.hashed("derivation ", ".drv")
}

func (p *pkg) hashed(prefix, suffix string) string {
	sum := sha1.Sum([]byte(prefix + p.name + " " + p.version + " " + p.arch))
	_, version, epoch := strings.Cut(p.version, ":")
	if !epoch {
		version = p.version
	}
	// A tilde is the one character of Debian versions that Nix does not take.
	version = strings.ReplaceAll(version, "~", "_")
	return nixbase32.EncodeToString(sum[:]) + "-" + p.name + "-" + version + suffix
}

// refersToItself says whether the store path names itself, as libraries built by
// Nix do in their RUNPATH.
func (p *pkg) refersToItself() bool { return strings.HasPrefix(p.name, "lib") }
