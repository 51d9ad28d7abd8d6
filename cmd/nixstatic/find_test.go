package main

import "testing"

// Every name that matches has the text that listings are searched for before they are parsed.
func TestLiteral(t *testing.T) {
	for glob, want := range map[string]string{
		"": "", "libssl.so.3": "libssl.so.3", "bin/*": "bin", "/share/man/*.gz": "share", "*": "", "a*bcd?e": "bcd",
		"[ab]cdef": "", "x[!abcdef]": "x", `a\*bcdef`: "a",
	} {
		if got := literal(glob); got != want {
			t.Errorf("%q: %q, want %q", glob, got, want)
		}
	}
}

// A pattern without * ? [ is part of a name, or the beginning of a path from its hash on.
func TestNamePattern(t *testing.T) {
	const hash, name = "k7jfwxna0qrz1xx6l8w69g0hv3fvxncj", "Python3.12-Numpy"
	for pattern, want := range map[string]bool{
		"numpy": true, "python3.12": true, "k7jfwxna": true, "k7jfwxn": false, hash: true, hash + "-": true, hash + "-python": true,
		hash + "-numpy": false, "k7jfwxna-python": false, "*numpy": true, "numpy*": false, "k7jfwxna*": false, "": true,
	} {
		match, err := namePattern(pattern)
		if err != nil || match(hash, name) != want {
			t.Errorf("%q: %v, %v", pattern, !want, err)
		}
	}
}
