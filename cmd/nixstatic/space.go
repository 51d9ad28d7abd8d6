package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nixstatic/nixstatic/layout"
	"github.com/nixstatic/nixstatic/layout/gc"
)

// disk is the file system of the first of some directories that is there.
type disk []string

// free returns the bytes that we may still write. A file system that does not
// tell its size takes what it takes. A file system that can hold hardly any more
// files, however small, counts as full: with a block for each file that is left.
func (d disk) free() (uint64, error) {
	st, err := d.stat()
	if err != nil {
		return 0, err
	}
	if st.Blocks == 0 {
		return math.MaxInt64, nil
	}
	free := uint64(st.Bavail) * uint64(st.Bsize)
	if st.Files > 0 && uint64(st.Ffree) < uint64(st.Files)/fewFiles {
		free = min(free, uint64(st.Ffree)*blockBytes)
	}
	return free, nil
}

const (
	// fewFiles is the part of all files of a file system at which those that are
	// left are counted.
	fewFiles   = 50
	blockBytes = 4 << 10
)

func (d disk) total() (uint64, error) {
	st, err := d.stat()
	return uint64(st.Blocks) * uint64(st.Bsize), err
}

func (d disk) stat() (st unix.Statfs_t, err error) {
	for _, dir := range d {
		err = unix.Statfs(dir, &st)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case layout.Lacks(err):
			return unix.Statfs_t{}, nil
		case err != nil:
			return st, fmt.Errorf("look at the free space of %s: %w", dir, err)
		}
		return st, nil
	}
	return st, fmt.Errorf("look at the free space of %s: %w", strings.Join(d, ", "), err)
}

// parseMinFree reads how much of a disk is to stay free: a size, or a
// percentage. By default that is 1 GiB, or 2 % of a disk so small that this is
// less.
func parseMinFree(text string, d disk) (int64, error) {
	percent, isPercent := strings.CutSuffix(strings.TrimSpace(text), "%")
	if text != "" && !isPercent {
		return gc.ParseSize(text)
	}
	share := 2.0
	if isPercent {
		var err error
		if share, err = strconv.ParseFloat(strings.TrimSpace(percent), 64); err != nil || !(share >= 0 && share <= 100) {
			return 0, fmt.Errorf("%q is not a percentage", text)
		}
	}
	total, err := d.total()
	if err != nil {
		return 0, err
	}
	part := int64(float64(total) * share / 100)
	if !isPercent {
		part = min(part, 1<<30)
	}
	return part, nil
}
