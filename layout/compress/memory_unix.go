//go:build (linux || darwin || freebsd) && !race

package compress

import "syscall"

// allocate returns n zero bytes outside the Go heap, where the collector lets garbage grow to the
// size of what is live: buffers of 16 MiB on the heap would cost twice their size. Pages that
// are never touched are never there, so a buffer that only small streams use stays small.
func allocate(n int) []byte {
	mem, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]byte, n) // a limit on mappings; the heap may still have room
	}
	return mem
}

// release gives back what allocate returned. Nothing may use it afterwards.
func release(mem []byte) {
	_ = syscall.Munmap(mem) // refuses what it did not map, which is then the collector's
}
