package webdav

import (
	"encoding/xml"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"time"

	xwebdav "golang.org/x/net/webdav"
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

// A file can be described and given properties. Its bytes go another way.
type file struct{ entry entry }

func (f file) Close() error                                      { return nil }
func (f file) Stat() (os.FileInfo, error)                        { return fileInfo{f.entry}, nil }
func (f file) Read([]byte) (int, error)                          { return 0, fs.ErrPermission }
func (f file) Write([]byte) (int, error)                         { return 0, fs.ErrPermission }
func (f file) Seek(int64, int) (int64, error)                    { return 0, fs.ErrPermission }
func (f file) Readdir(int) ([]os.FileInfo, error)                { return nil, io.EOF }
func (f file) DeadProps() (map[xml.Name]xwebdav.Property, error) { return nil, nil }

// microsoft is the namespace of the times and attributes that Windows sets on
// each file that it copies. It takes a refusal for a failed copy. Agreed to and
// forgotten: the file of a cache has no such properties.
const microsoft = "urn:schemas-microsoft-com:"

// Patch agrees to the requests of Windows, and to no others.
func (f file) Patch(patches []xwebdav.Proppatch) ([]xwebdav.Propstat, error) {
	agreed, refused := xwebdav.Propstat{Status: http.StatusOK}, xwebdav.Propstat{Status: http.StatusForbidden}
	for _, patch := range patches {
		for _, p := range patch.Props {
			if p.XMLName.Space == microsoft {
				agreed.Props = append(agreed.Props, p)
			} else {
				refused.Props = append(refused.Props, p)
			}
		}
	}
	if len(refused.Props) == 0 {
		return []xwebdav.Propstat{agreed}, nil
	}
	if agreed.Status = xwebdav.StatusFailedDependency; len(agreed.Props) == 0 {
		return []xwebdav.Propstat{refused}, nil
	}
	return []xwebdav.Propstat{refused, agreed}, nil
}
