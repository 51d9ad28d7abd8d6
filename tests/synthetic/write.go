package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nix-community/go-nix/pkg/nar"
)

// Nix gives everything in a store this time.
var storeTime = time.Unix(1, 0)

// write puts the path into the store directory the way Nix leaves it, and
// measures its NAR. The codec is not ours: what tests this project must not
// agree with it by construction.
func (p *path) write(store string) error {
	root := filepath.Join(store, p.name)
	if content, ok := p.files[""]; ok {
		if err := writeFile(root, content); err != nil {
			return err
		}
	} else if err := p.writeDir(root); err != nil {
		return err
	}
	hash := sha256.New()
	var size counter
	if err := nar.DumpPath(io.MultiWriter(hash, &size), root); err != nil {
		return fmt.Errorf("dump %s: %w", p.name, err)
	}
	hash.Sum(p.narHash[:0])
	p.narSize = int64(size)
	return nil
}

func (p *path) writeDir(root string) error {
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	for name, content := range p.files {
		if err := writeFile(filepath.Join(root, name), content); err != nil {
			return err
		}
	}
	if err := os.Chmod(root, 0o555); err != nil {
		return err
	}
	return os.Chtimes(root, storeTime, storeTime)
}

func writeFile(name string, content []byte) error {
	if err := os.WriteFile(name, content, 0o444); err != nil {
		return err
	}
	return os.Chtimes(name, storeTime, storeTime)
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
