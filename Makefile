# make            build bin/nixstatic: one static binary
# make unit       the tests that need Go and nothing else, and some of many cases
# make test       install what the others need (Debian, root or sudo), run them all
# make screenshots  the page for browsers, as pictures
# make lint       formatting, vet, staticcheck, known vulnerabilities
# make race       the tests of the packages under the race detector (needs cgo)
# make fuzz       each fuzz target for FUZZTIME
# make siege      all attacks at once, for SIEGE
# make soak       all writers and gc at once, beside readers, for SOAK
# make year       a year of a busy CI under a policy, day by day
# make explore    more orders of operations of pruning: DEPTH interruptions
# make bench      tests/bench, against the real Nix
# make install    program, manual pages and completions into $(DESTDIR)$(PREFIX)
# make release    archives for PLATFORMS, Debian packages and checksums, into bin/release
#
# V=1 shows each test as it runs. RUN=regexp and PKG=./layout/... narrow a run.

GO       ?= go
PREFIX   ?= /usr/local
FUZZTIME ?= 10s
SIEGE    ?= 5m
SOAK     ?= 3m
DEPTH    ?= 2
PKG      ?= ./...
RUN      ?=
PLATFORMS ?= linux/amd64 linux/arm64 darwin/arm64
SHELL    := /bin/bash

# -count=1: the real programs and stores that tests use are not files of this
# module, so Go cannot know that a cached result went stale. The tests of make unit
# use none of them, so Go runs those again that a change concerns.
#
# -p: many tests wait, for disks, clocks and other programs, while others can run.
#
# -s -w: the linker leaves out what only debuggers read, which is more than half of its
# work for some fifty programs.
#
# The tests of make unit make their temporary folders in memory where that has room: what
# they wait for is fsync. Those of make test make theirs on a disk, as trees are.
#
# The tag real adds the tests that need those programs.
processors := $(shell getconf _NPROCESSORS_ONLN)
testflags := -timeout 20m -p $$(( $(processors) + 1 )) -ldflags '-s -w' $(if $(filter 1,$(V)),-v) $(if $(RUN),-run '$(RUN)')
unitflags := -parallel $$(( 4 * $(processors) )) $(testflags)
memory := $(shell [ "$$(uname)" = Linux ] && [ -w /dev/shm ] && df -Pk /dev/shm | awk 'END { if ($$4 > 1048576) print "/dev/shm" }')
realflags := -tags real -count=1 $(testflags)

.PHONY: build unit test screenshots race lint fuzz siege soak explore year bench install install-files release setup clean builders

# Go finds the version in git. An archive of the source has it in a file.
stamp := $(if $(wildcard .git),,$(shell cmd/nixstatic/release/version.sh 2>/dev/null | sed 's/ .*//; s/^/ -X main.release=/'))

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w$(stamp)' -o bin/nixstatic ./cmd/nixstatic

setup:
	tests/setup.sh

# GOTMPDIR: the test programs stay on the disk. Package webdav comes first: its tests wait
# longest, and others can run meanwhile.
unit:
	$(if $(memory),GOTMPDIR=$${GOTMPDIR:-$${TMPDIR:-/tmp}} TMPDIR=$(memory)) $(GO) test $(unitflags) $(if $(filter ./...,$(PKG)),./webdav) $(PKG)

test: setup
	$(GO) vet -tags real $(PKG)
	$(GO) test $(realflags) $(PKG)
ifeq ($(PKG),./...)
	cd tests/browser && $(GO) vet -tags real ./... && $(GO) test $(realflags) ./...
	cd tests/compose && $(GO) vet -tags real ./... && $(GO) test $(realflags) ./...
endif

# The pages as people see them, into tests/browser/screenshots.
screenshots: setup
	cd tests/browser && SCREENSHOTS=$(CURDIR)/tests/browser/screenshots $(GO) test -tags real -count=1 -run Screenshots ./...

race: setup
	CGO_ENABLED=1 $(GO) test -race $(realflags) $(PKG)

lint:
	tests/lint/run.sh

fuzz:
	tests/fuzz.sh $(FUZZTIME) $(PKG)

# Five hundred builds of each Nix while servers, senders and builds are killed.
builders:
	NIXSTATIC_BUILDS=500 $(GO) test -tags real -count=1 -timeout 60m -run Killed ./tests/builders

siege: setup
	SIEGE=$(SIEGE) $(GO) test -tags real -count=1 -timeout 1h -v ./tests/siege

soak: setup
	SOAK=$(SOAK) $(GO) test -tags real -count=1 -timeout 8h -v ./tests/soak

year:
	NIXSTATIC_YEAR=365 $(GO) test -count=1 -timeout 4h -v -run '^TestYear$$' ./layout/gc

explore:
	NIXSTATIC_EXPLORE=$(DEPTH) $(GO) test -tags real -count=1 -timeout 8h -v -run TestExplore ./layout/gc

bench:
	tests/setup.sh --bench
	tests/bench/run.sh $(BENCH)

install: build install-files

# BIN is a program that was built already.
BIN ?= bin/nixstatic
install-files:
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/nixstatic
	$(BIN) man $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(BIN) completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/nixstatic
	$(BIN) completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_nixstatic
	$(BIN) completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/nixstatic.fish

release:
	cmd/nixstatic/release/build.sh bin/release $(PLATFORMS)

clean:
	rm -rf bin
