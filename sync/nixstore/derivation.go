package nixstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxDerivation bounds a .drv file in bytes. Those of whole systems have some
// hundred kilobytes.
const maxDerivation = 32 << 20

// A derivation is the content of a .drv file, as far as its hash modulo its inputs
// depends on it, which is all. Format: Derivation::unparse in Nix.
type derivation struct {
	outputs   map[string]drvOutput
	inputDrvs map[string][]string // path → names of outputs
	inputSrcs []string
	platform  string
	builder   string
	args      []string
	env       map[string]string
}

// A drvOutput says how an output's path is known: by itself, or by the hash of the
// content, or not before it is built.
type drvOutput struct {
	path string // "" if it is not known before the build
	algo string // "sha256", "r:sha256", "text:sha256", …; "" for input-addressed
	hash string // hexadecimal; "" if it is not known before the build, or "impure"
}

// fixed reports whether the derivation's one output has a hash given beforehand.
func (d *derivation) fixed() bool {
	out, ok := d.outputs["out"]
	return ok && len(d.outputs) == 1 && out.hash != "" && out.hash != "impure"
}

func (d *derivation) impure() bool {
	for _, out := range d.outputs {
		if out.hash == "impure" {
			return true
		}
	}
	return false
}

// marshal writes the derivation as Nix does before it hashes it: with inputs in
// place of the input derivations, and if masked without the paths of the
// derivation's own outputs.
func (d *derivation) marshal(inputs map[string][]string, masked bool) string {
	var b strings.Builder
	b.Grow(4 << 10)
	b.WriteString("Derive([")
	for i, name := range slices.Sorted(maps.Keys(d.outputs)) {
		out := d.outputs[name]
		if masked {
			out.path = ""
		}
		separate(&b, i)
		tuple(&b, name, out.path, out.algo, out.hash)
	}
	b.WriteString("],[")
	for i, drv := range slices.Sorted(maps.Keys(inputs)) {
		separate(&b, i)
		b.WriteByte('(')
		quote(&b, drv)
		b.WriteByte(',')
		list(&b, slices.Sorted(slices.Values(inputs[drv])))
		b.WriteByte(')')
	}
	b.WriteString("],")
	list(&b, slices.Sorted(slices.Values(d.inputSrcs)))
	b.WriteByte(',')
	quote(&b, d.platform)
	b.WriteByte(',')
	quote(&b, d.builder)
	b.WriteByte(',')
	list(&b, d.args)
	b.WriteString(",[")
	for i, name := range slices.Sorted(maps.Keys(d.env)) {
		value := d.env[name]
		if _, own := d.outputs[name]; own && masked {
			value = ""
		}
		separate(&b, i)
		tuple(&b, name, value)
	}
	b.WriteString("])")
	return b.String()
}

func separate(b *strings.Builder, i int) {
	if i > 0 {
		b.WriteByte(',')
	}
}

func tuple(b *strings.Builder, texts ...string) {
	b.WriteByte('(')
	for i, s := range texts {
		separate(b, i)
		quote(b, s)
	}
	b.WriteByte(')')
}

func list(b *strings.Builder, texts []string) {
	b.WriteByte('[')
	for i, s := range texts {
		separate(b, i)
		quote(b, s)
	}
	b.WriteByte(']')
}

var escapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`)

func quote(b *strings.Builder, s string) {
	b.WriteByte('"')
	escapes.WriteString(b, s)
	b.WriteByte('"')
}

// parseDerivation reads a .drv file. Derivations of the newer form with a version
// in front ("DrvWithVersion", for dynamic derivations) are
// errors.ErrUnsupported.
func parseDerivation(text string) (*derivation, error) {
	if strings.HasPrefix(text, "DrvWithVersion(") {
		return nil, fmt.Errorf("dynamic derivation: %w", errors.ErrUnsupported)
	}
	if len(text) > maxDerivation {
		return nil, fmt.Errorf("more than %d bytes", maxDerivation)
	}
	d := &derivation{outputs: map[string]drvOutput{}, inputDrvs: map[string][]string{}, env: map[string]string{}}
	p := &aterm{rest: text}
	p.want("Derive(")
	p.list(func() {
		f := p.tuple(4)
		once(p, d.outputs, f[0], drvOutput{f[1], f[2], f[3]})
	})
	p.want(",")
	p.list(func() {
		p.want("(")
		drv := p.text()
		p.want(",")
		once(p, d.inputDrvs, drv, p.texts())
		p.want(")")
	})
	p.want(",")
	d.inputSrcs = p.texts()
	p.want(",")
	d.platform = p.text()
	p.want(",")
	d.builder = p.text()
	p.want(",")
	d.args = p.texts()
	p.want(",")
	p.list(func() {
		f := p.tuple(2)
		once(p, d.env, f[0], f[1])
	})
	p.want(")")
	if p.err == nil && p.rest != "" {
		p.fail("something follows the end")
	}
	if p.err == nil && len(d.outputs) == 0 {
		p.fail("there is no output")
	}
	if p.err != nil {
		return nil, p.err
	}
	return d, nil
}

func once[V any](p *aterm, m map[string]V, key string, v V) {
	if _, ok := m[key]; ok {
		p.fail(fmt.Sprintf("%.100q comes twice", key))
	}
	m[key] = v
}
