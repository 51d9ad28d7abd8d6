package main

// needs returns the installed packages that p depends on, one per clause: the
// first alternative that is there, under its own name or a provided one.
func (all *packages) needs(p *pkg) []*pkg {
	var needed []*pkg
	seen := map[*pkg]bool{p: true}
	for _, clause := range p.depends {
		for _, name := range clause {
			q := all.named[name]
			if q == nil && len(all.provided[name]) > 0 {
				q = all.provided[name][0]
			}
			if q != nil {
				if !seen[q] {
					seen[q] = true
					needed = append(needed, q)
				}
				break
			}
		}
	}
	return needed
}

// choose takes each seed, then every other package in turn, together with its
// whole closure, as long as both limits hold afterwards.
func (all *packages) choose(seeds []string, maxPaths int, maxBytes int64) map[*pkg]bool {
	chosen := map[*pkg]bool{}
	var bytes int64
	take := func(p *pkg) {
		more := map[*pkg]bool{}
		size := bytes
		stack := []*pkg{p}
		for len(stack) > 0 {
			q := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if chosen[q] || more[q] {
				continue
			}
			more[q] = true
			size += q.size
			stack = append(stack, all.needs(q)...)
		}
		if len(chosen)+len(more) > maxPaths || size > maxBytes {
			return
		}
		bytes = size
		for q := range more {
			chosen[q] = true
		}
	}
	for _, name := range seeds {
		if p := all.named[name]; p != nil {
			take(p)
		}
	}
	for _, p := range all.sorted {
		take(p)
	}
	return chosen
}

// order sets the references of the chosen packages and returns them, referenced
// ones first. An edge back to a package still being visited closes a cycle and is
// dropped.
func (all *packages) order(chosen map[*pkg]bool) []*pkg {
	const (
		fresh = iota
		open
		done
	)
	state := map[*pkg]int{}
	var ordered []*pkg
	var visit func(p *pkg)
	visit = func(p *pkg) {
		state[p] = open
		for _, q := range all.needs(p) {
			if state[q] == fresh {
				visit(q)
			}
			if state[q] == done {
				p.refs = append(p.refs, q)
			}
		}
		state[p] = done
		ordered = append(ordered, p)
	}
	for _, p := range all.sorted {
		if chosen[p] && state[p] == fresh {
			visit(p)
		}
	}
	return ordered
}
