// Command names makes a directory of many records that lead to no NAR, to be searched by
// name.
package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "names:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want a directory and a number")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	dir := args[0]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "nix-cache-info"), []byte("StoreDir: /nix/store\nWantMassQuery: 1\nPriority: 40\n"), 0o644); err != nil {
		return err
	}
	const digits, file = "0123456789abcdfghijklmnpqrsvwxyz", "1awmc5vg9mvh4bzwmvvki6947nqqrc5nfyj7a1rksd5kil266ndx"
	for i := range n {
		sum := sha256.Sum256([]byte(strconv.Itoa(i)))
		hash := sum[:]
		for j := range hash {
			hash[j] = digits[hash[j]&31]
		}
		text := fmt.Sprintf("StorePath: /nix/store/%s-package-%d-1.%d\nURL: nar/%s.nar.zst\nCompression: zstd\nFileHash: sha256:%s\nFileSize: 1000\nNarHash: sha256:%s\nNarSize: 2000\nReferences: \n",
			hash, i, i%17, file, file, file)
		if err := os.WriteFile(filepath.Join(dir, string(hash)+".narinfo"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
