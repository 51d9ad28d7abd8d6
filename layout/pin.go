package layout

import (
	"fmt"
	"strings"
)

// maxPinName bounds the name of a pin in bytes.
const maxPinName = 200

// PinKey is where clients find the paths of a pin, whose name was checked.
func PinKey(name string) Key { return Key(PinsFolder + name) }

// CheckPinName reports why name cannot be that of a pin: it is one of letters,
// digits and ._+-, in parts that are joined by slashes.
func CheckPinName(name string) error {
	if len(name) > maxPinName {
		return fmt.Errorf("the name of a pin has %d bytes, more than %d", len(name), maxPinName)
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.Trim(part, ".") == "" {
			return fmt.Errorf("the name of a pin, %.60q, has an empty or dot part", name)
		}
		if !isName(part, "") || strings.ContainsAny(part, "?=") {
			return fmt.Errorf("the name of a pin, %.60q: only letters, digits and ._+- are allowed, and slashes between them", name)
		}
	}
	return nil
}
