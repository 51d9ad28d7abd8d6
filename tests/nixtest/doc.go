// Package nixtest lets tests use nixstatic the way people do: the program that
// `make build` makes, as a process of its own, beside the real Nix of package
// peers and behind the real nginx.
//
// It knows nothing of how nixstatic works: what a test learns, it learns from
// standard output, standard error, the exit code, the files of the tree, and
// from what Nix makes of them.
//
// A test package that uses it hands its TestMain over:
//
//	func TestMain(m *testing.M) { nixtest.Main(m) }
package nixtest
