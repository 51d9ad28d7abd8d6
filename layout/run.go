package layout

import (
	"errors"
	"fmt"
	"strings"
)

const (
	maxRootName = 200
	maxRunName  = 100
)

// A RunID names a run of something that is done again and again, such as a build
// of a branch: all that it pushes and relies upon is one generation of the root.
type RunID struct {
	Root string // letters, digits and ._+-, in parts that are joined by slashes
	Run  string // the same, without slashes
}

// String returns NAME@RUN.
func (r RunID) String() string { return r.Root + "@" + r.Run }

// MakeRunID checks both names.
func MakeRunID(name, run string) (RunID, error) {
	if err := checkRootName(name); err != nil {
		return RunID{}, err
	}
	if err := checkRootPart(run); err != nil {
		return RunID{}, fmt.Errorf("the name of a run, %.60q, %w", run, err)
	}
	if len(run) > maxRunName {
		return RunID{}, fmt.Errorf("the name of a run has %d bytes, more than %d", len(run), maxRunName)
	}
	return RunID{name, run}, nil
}

// checkRootName reports why name cannot be that of a root.
func checkRootName(name string) error {
	if len(name) > maxRootName {
		return fmt.Errorf("the name of a root has %d bytes, more than %d", len(name), maxRootName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if err := checkRootPart(part); err != nil {
			return fmt.Errorf("the name of a root, %.60q, %w", name, err)
		}
	}
	return nil
}

func checkRootPart(part string) error {
	switch {
	case strings.Trim(part, ".") == "":
		return errors.New("has an empty or dot part")
	case !isName(part, "") || strings.ContainsAny(part, "?="):
		return errors.New("may have letters, digits and ._+- only, and slashes between the parts of a root")
	}
	return nil
}

// ErrTooManyRuns says that a client has named more runs, or lists more paths in
// them, than one client may.
var ErrTooManyRuns = errors.New("this client names too many runs")
