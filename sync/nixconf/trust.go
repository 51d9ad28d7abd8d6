package nixconf

import (
	"os/user"
	"slices"
	"strings"
)

// A Person is a user as the lists of users in nix.conf see one.
type Person struct {
	Name   string
	Groups []string // names
}

// Me returns the user who runs this process.
func Me() Person {
	u, err := user.Current()
	if err != nil {
		return Person{}
	}
	p := Person{Name: u.Username}
	ids, err := u.GroupIds()
	if err != nil {
		ids = []string{u.Gid}
	}
	for _, id := range ids {
		if g, err := user.LookupGroupId(id); err == nil {
			p.Groups = append(p.Groups, g.Name)
		}
	}
	return p
}

// In reports whether a list of users, such as trusted-users, has the person.
func (p Person) In(list []string) bool {
	return slices.ContainsFunc(list, func(word string) bool {
		group, isGroup := strings.CutPrefix(word, "@")
		return word == "*" || word == p.Name && p.Name != "" || isGroup && slices.Contains(p.Groups, group)
	})
}
