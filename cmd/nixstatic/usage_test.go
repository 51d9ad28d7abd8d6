package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// TestUsage: a command line that cannot be meant is refused before anything is
// read or written, on standard error alone.
func TestUsage(t *testing.T) {
	const web = "https://cache.example.org"
	for line, want := range map[string]string{
		"explode":                     `there is no command "explode"`,
		"key explode":                 `there is no command "explode" of key`,
		"export --explode":            "-explode",
		"export a":                    "export needs --to",
		"export --to":                 "the flag --to needs a value",
		"export --to t":               "export needs at least one path",
		"export --to t -":             "the list on standard input is empty",
		"export --to t --jobs many a": "many",
		"add --to t --name n --compression lzma .":                  "--compression lzma: choose one of",
		"add --to t --name n --compression lz4 .":                   "--compression lz4: choose one of",
		"add --to t --name n --level 23 .":                          "--level: ",
		"export --to t --from " + web + " --store daemon a":         "--from and --store exclude each other",
		"export --to t --no-check-sigs a":                           "--no-check-sigs goes with --from",
		"export --to t --from " + web + " --trusted-public-key x a": "--trusted-public-key: ",
		"push " + web:                          "push needs at least one path",
		"push":                                 "push takes the cache to push to",
		"push --exclude ( " + web + " p":       "--exclude: error parsing regexp",
		"push --pin ../x " + web + " p":        "--pin: ",
		"push --upstream-key k " + web + " p":  "--upstream-key goes with --upstream",
		"add --to t":                           "add needs at least one file or directory",
		"add --to t --name n a b":              "--name goes with one file or directory",
		"init":                                 "init takes one argument, the cache",
		"init a b":                             "init takes one argument, the cache",
		"init --public t":                      "--public is for buckets",
		"init --store-dir nix t":               "--store-dir: ",
		"init " + web:                          web + " cannot be made",
		"sign t":                               "sign needs at least one --secret-key-file",
		"verify " + web:                        web + " cannot be checked",
		"verify":                               "verify takes one argument, the cache",
		"verify --trusted-public-key x t":      "--trusted-public-key: ",
		"key generate":                         "generate needs --",
		"key generate --name n --to k x":       "key generate takes no arguments",
		"key public":                           "key public takes one argument",
		"sync a":                               "sync takes the source and the destination",
		"sync a a":                             "source and destination are the same",
		"sync --delete a b /nix/store/x":       "--delete is for whole caches",
		"sync --no-check-sigs a b":             "--no-check-sigs goes with paths",
		"sync --watch --dry-run a b":           "--watch and --dry-run exclude each other",
		"sync --compare bytes a b":             "--compare bytes: choose version or content",
		"sync --bandwidth fast a b":            `--bandwidth: "fast" is not a size such as 10MB`,
		"sync --bandwidth 0 a b":               "--bandwidth 0 is less than 1KiB a second",
		"sync --bandwidth 1000B/s a b":         "--bandwidth 1000B/s is less than 1KiB a second",
		"sync -j -3 a b":                       "--jobs -3: want 1 or more",
		"export -j -1 --to t p":                "--jobs -1: want 1 or more",
		"sync --include narz a b":              `there is no kind "narz"`,
		"sync --include nar --exclude nar a b": "--include and --exclude leave nothing",
		"sync --watch --rescan 0s a b":         `--rescan: "0s" is not a duration`,
		"sync --watch --rescan 10 a b":         `--rescan: "10" is not a duration such as 90d, 2w or 12h`,
		"serve --shutdown-timeout -1s t":       `--shutdown-timeout: "-1s" is not a duration`,
		"serve --shutdown-timeout 10 t":        `--shutdown-timeout: "10" is not a duration`,
		"serve --pull-through " + web + " --pull-through-timeout -1s t": `--pull-through-timeout: "-1s" is not a duration`,
		"watch --exec --timeout 0 a true":                               `--timeout: "0" is not a duration`,
		"serve --max-nar-size 10 t":                                     "--max-nar-size: ",
		"serve --max-body 500 t":                                        `--max-body: "500" is a number of bytes: name a unit, as in 500GB`,
		"serve --min-free 10 t":                                         `--min-free: "10" is a number of bytes: name a unit, as in 10GB`,
		"bundle create --max-size 4 -o b c":                             `--max-size: "4" is a number of bytes`,
		"init --priority -1 t":                                          "--priority -1: want 0 to 2147483647",
		"init --priority 3000000000 t":                                  "--priority 3000000000: want 0 to 2147483647",
		"init --priority high t":                                        `invalid value "high" for flag --priority: want a whole number`,
		"verify -j 1.5 t":                                               `invalid value "1.5" for flag -j: want a whole number`,
		"verify -j 99999999999999999999 t":                              "that is too large",
		"gc --max-removal 0% t":                                         "--max-removal 0%: want a percentage from 1% to 100%",
		"serve --private t":                                             "--private needs --tokens",
		"serve --log-level loud t":                                      "--log-level loud: choose one of",
		"serve --log-format xml t":                                      "--log-format xml: choose text or json",
		"serve --tls-cert c t":                                          "--tls-cert and --tls-key belong together",
		"serve --max-uploads 0 t":                                       "--max-uploads 0: want 1 at least",
		"serve --max-nar-size much t":                                   `--max-nar-size: "much" is not a size`,
		"serve --trusted-proxy nowhere t":                               `--trusted-proxy "nowhere": want an address`,
		"serve --require-signature t":                                   "--require-signature needs at least one --trusted-public-key",
		"serve --redirect presigned t":                                  "--redirect needs a cache in a bucket",
		"serve --upstream " + web + " t":                                "--upstream " + web + " needs its public key",
		"serve " + web:                                                  web + " cannot be served",
		"token create --name n --scope upload":                          "token create needs --file",
		"use":                                                           "use takes one argument, the URL of the cache",
		"use --write file " + web:                                       "--write file: choose one of",
		"use --write nixos= " + web:                                     "--write nixos=: want a directory",
		"use --remove --key k " + web:                                   "--remove needs neither --key nor --token-file",
		"use --write nixos --token-file f " + web:                       "--token-file needs --write user or system",
		"use --token-file f ./t":                                        "--token-file is for a cache behind a web server",
		"use https://ci:nst_x@c.example.org":                            "https://c.example.org is not to have a user name and a password in it",
		"use ./a#b":                                                     "cannot be named in nix.conf",
		"token create --file f --scope upload":                          "token create needs --name",
		"token create --file f --name n --scope root":                   "--scope: ",
		"token create --file f --name n --scope upload x":               "token create takes no arguments",
		"token create --file f --name n --scope upload --expires never": "--for: ",
		"token list --file f x":                                         "token list takes no arguments",
		"token revoke --file f":                                         "token revoke takes one argument",
	} {
		t.Run(line, func(t *testing.T) {
			t.Chdir(t.TempDir())
			var stdout, stderr strings.Builder
			// A server that is started nevertheless ends.
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			code := runApp(ctx, append([]string{"nixstatic"}, anyAddress(strings.Fields(line))...), strings.NewReader(""), &stdout, &stderr)
			first, rest, _ := strings.Cut(stderr.String(), "\n")
			if code != exitUsage || !strings.HasPrefix(first, "nixstatic: error: ") || !strings.Contains(first, want) {
				t.Errorf("exit code %d, %q, want %q", code, first, want)
			}
			if strings.Contains(rest, "COMMAND --help") {
				t.Errorf("the hint does not name the command: %q", rest)
			}
			if !strings.HasPrefix(rest, "nixstatic: hint: ") || strings.Count(rest, "\n") != 1 {
				t.Errorf("after the error it says %q, want one hint", rest)
			}
			if stdout.Len() > 0 {
				t.Errorf("standard output: %q", stdout.String())
			}
			if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestHelp: each command says what it does, and each flag what it is for.
func TestHelp(t *testing.T) {
	var check func(name string, c *cli.Command)
	check = func(name string, c *cli.Command) {
		if c.Usage == "" || strings.HasSuffix(c.Usage, ".") {
			t.Errorf("%s is explained by %q", name, c.Usage)
		}
		if !strings.Contains(c.Description, "Example") && len(c.Subcommands) == 0 {
			t.Errorf("%s has no example", name)
		}
		seen := map[string]bool{}
		for _, f := range c.Flags {
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("%s has the flag %s twice", name, n)
				}
				seen[n] = true
			}
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("%s: the flag %s is not explained", name, f.Names()[0])
			}
		}
		for _, sub := range c.Subcommands {
			check(name+" "+sub.Name, sub)
		}
	}
	for _, c := range newApp(nil, nil, nil).Commands {
		check(c.Name, c)
	}
}

// A number alone is KiB a second, as rclone has it.
func TestBandwidth(t *testing.T) {
	for text, want := range map[string]int64{"1": 1 << 10, "10": 10 << 10, "0.5M": 1 << 19, "10MB": 10e6, "10MiB/s": 10 << 20, "1024B": 1 << 10, "10/s": 10 << 10} {
		if got, err := parseBandwidth(text); got != want || err != nil {
			t.Errorf("%s: %d, %v, want %d", text, got, err, want)
		}
	}
}

// anyAddress has a server listen where no other process does: on the machine of a test the
// usual address may be taken, which is told before the rest.
func anyAddress(words []string) []string {
	if words[0] != "serve" || slices.Contains(words, "--listen") {
		return words
	}
	return slices.Insert(words, 1, "--listen", "127.0.0.1:0")
}
