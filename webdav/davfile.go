package webdav

import (
	"io"
	"io/fs"
	"os"
	"path"
	"time"
)

// A fileInfo is an entry as the library wants it described.
type fileInfo struct{ e entry }

func (i fileInfo) Name() string       { return path.Base("/" + i.e.name) }
func (i fileInfo) Size() int64        { return i.e.Info.Size }
func (i fileInfo) ModTime() time.Time { return i.e.Info.ModTime }
func (i fileInfo) IsDir() bool        { return i.e.folder }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) Mode() os.FileMode {
	if i.e.folder {
		return os.ModeDir | 0o755
	}
	return 0o644
}

// A file can be described. Its bytes go another way.
type file struct{ entry entry }

func (f file) Close() error                       { return nil }
func (f file) Stat() (os.FileInfo, error)         { return fileInfo{f.entry}, nil }
func (f file) Read([]byte) (int, error)           { return 0, fs.ErrPermission }
func (f file) Write([]byte) (int, error)          { return 0, fs.ErrPermission }
func (f file) Seek(int64, int) (int64, error)     { return 0, fs.ErrPermission }
func (f file) Readdir(int) ([]os.FileInfo, error) { return nil, io.EOF }
