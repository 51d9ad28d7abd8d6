//go:build !linux

package nixstore

// listener returns 0: the process at the other end is not known here.
func listener(int) int { return 0 }
