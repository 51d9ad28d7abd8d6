package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/signer"
)

// realisationJSON is the object up to Nix 2.34, and its fingerprint. The fields
// are in the order in which Nix's JSON library sorts them.
type realisationJSON struct {
	Dependents map[string]string `json:"dependentRealisations"`
	ID         string            `json:"id"`
	OutPath    string            `json:"outPath"`
	Signatures *[]string         `json:"signatures,omitempty"`
}

func (r *Realisation) dependents() map[string]string {
	names := make(map[string]string, len(r.Dependents)) // {} and not null when empty
	for o, path := range r.Dependents {
		names[o.String()] = string(path)
	}
	return names
}

type traceSigJSON struct {
	KeyName string `json:"keyName"`
	Sig     string `json:"sig"`
}

func (r *Realisation) marshalTrace() ([]byte, error) {
	sigs := []traceSigJSON{}
	for _, sig := range sortedSet(r.TraceSigs) {
		name, payload, ok := strings.Cut(sig, ":")
		if !ok {
			return nil, fmt.Errorf("realisation of %s: signature %.100q: want name:base64", r.OutPath, sig)
		}
		sigs = append(sigs, traceSigJSON{name, payload})
	}
	return compactJSON(struct {
		OutPath    string         `json:"outPath"`
		Signatures []traceSigJSON `json:"signatures"`
	}{string(r.OutPath), sigs}), nil
}

// ParseRealisation reads the object that is at key. The name in the key is
// believed: an object that claims another is an error. Unknown fields are passed
// over.
func ParseRealisation(key Key, text []byte) (Realisation, error) {
	r, err := parseRealisation(key, text)
	if err != nil {
		return Realisation{}, fmt.Errorf("parse %s: %w", key, err)
	}
	return r, nil
}

func parseRealisation(key Key, text []byte) (r Realisation, err error) {
	name, ok := strings.CutSuffix(string(key), ".doi")
	if !ok || key.Kind() != KindRealisation {
		return r, errors.New("not the key of a realisation")
	}
	if len(text) > MaxRealisation {
		return r, fmt.Errorf("more than %d bytes", MaxRealisation)
	}
	// A map of fields: a struct would take them in any case of letters.
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return r, fmt.Errorf("not a JSON object: %w", err)
	}
	var outPath string
	if err := json.Unmarshal(fields["outPath"], &outPath); err != nil {
		return r, fmt.Errorf("outPath: %w", err)
	}
	if r.OutPath, err = ParseStorePath(outPath); err != nil {
		return r, err
	}
	sigs, err := parseRealisationSigs(fields["signatures"])
	if err != nil {
		return r, err
	}
	if id, ok := strings.CutPrefix(name, RealisationsFolder); ok {
		r.Sigs = sigs
		return r, r.parseID(id, fields)
	}
	drv, output, _ := strings.Cut(strings.TrimPrefix(name, BuildTraceFolder), "/")
	r.TraceSigs, r.Output = sigs, output
	if r.DrvPath, err = ParseStorePath(drv); err != nil {
		return r, err
	}
	return r, r.check()
}

// parseID reads what only the older generation has.
func (r *Realisation) parseID(want string, fields map[string]json.RawMessage) error {
	var id string
	if err := json.Unmarshal(fields["id"], &id); err != nil {
		return fmt.Errorf("id: %w", err)
	}
	if id != want {
		return fmt.Errorf("claims to be %.300q", id)
	}
	o, err := parseDrvOutput(id)
	if err != nil {
		return err
	}
	r.DrvHash, r.Output = o.DrvHash, o.Output
	var dependents map[string]string
	if raw, ok := fields["dependentRealisations"]; ok {
		if err := json.Unmarshal(raw, &dependents); err != nil {
			return fmt.Errorf("dependentRealisations: %w", err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dependents)) {
		o, err := parseDrvOutput(name)
		if err != nil {
			return err
		}
		path, err := ParseStorePath(dependents[name])
		if err != nil {
			return err
		}
		if r.Dependents == nil {
			r.Dependents = make(map[DrvOutput]StorePath, len(dependents))
		}
		r.Dependents[o] = path
	}
	return r.check()
}

// parseRealisationSigs reads signatures as strings, the older form, and as
// objects, the newer one: Nix from 2.35 reads both. Those of another shape are
// passed over.
func parseRealisationSigs(raw json.RawMessage) ([]string, error) {
	if raw == nil {
		return nil, nil
	}
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("signatures: %w", err)
	}
	var sigs []string
	for _, item := range items {
		var sig string
		if bytes.HasPrefix(item, []byte("{")) {
			var parts traceSigJSON
			if json.Unmarshal(item, &parts) == nil {
				sig = parts.KeyName + ":" + parts.Sig
			}
		} else if err := json.Unmarshal(item, &sig); err != nil {
			return nil, fmt.Errorf("signatures: %w", err)
		}
		// A signature of another shape proves nothing.
		if sig, err := signer.ParseSignature(sig); err == nil {
			sigs = append(sigs, sig)
		}
	}
	return sortedSet(sigs), nil
}

// SignRealisation returns the object at key with the signatures of keys added. Fields and
// signatures of later versions stay. It is nil if nothing is to be added.
func SignRealisation(key Key, text []byte, keys []signer.SecretKey) ([]byte, error) {
	r, err := ParseRealisation(key, text)
	if err != nil {
		return nil, err
	}
	have := append(slices.Clone(r.Sigs), r.TraceSigs...)
	signed := r
	if err := signed.Sign(keys...); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	var sigs []json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if raw, ok := fields["signatures"]; ok {
		if err := json.Unmarshal(raw, &sigs); err != nil {
			return nil, fmt.Errorf("parse %s: signatures: %w", key, err)
		}
	}
	before := len(sigs)
	for _, sig := range append(slices.Clone(signed.Sigs), signed.TraceSigs...) {
		if slices.Contains(have, sig) {
			continue
		}
		item := compactJSON(sig)
		if r.DrvPath != "" {
			name, payload, _ := strings.Cut(sig, ":")
			item = compactJSON(traceSigJSON{name, payload})
		}
		sigs = append(sigs, item)
	}
	if len(sigs) == before {
		return nil, nil
	}
	fields["signatures"] = compactJSON(sigs)
	next := compactJSON(fields)
	if len(next) > MaxRealisation {
		return nil, fmt.Errorf("sign %s: %w", key, ErrTooLarge)
	}
	return next, nil
}

// compactJSON writes v as Nix does: no blanks, and <, > and & as they are.
func compactJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err) // strings and maps of strings alone
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func sortedSet(texts []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(texts)))
}

// presentSet is a set that JSON shows even if it is empty.
func presentSet(texts []string) *[]string {
	set := append([]string{}, sortedSet(texts)...)
	return &set
}
