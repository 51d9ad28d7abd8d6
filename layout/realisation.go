package layout

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/nixstatic/nixstatic/signer"
)

// MaxRealisation bounds a realisation's object in bytes: room for some 6,000
// dependent realisations.
const MaxRealisation = 1 << 20

// A DrvOutput names an output of a derivation the way Nix up to 2.34 does: by
// the hash of the derivation modulo its inputs, which does not change when an
// input is built anew.
type DrvOutput struct {
	DrvHash Hash
	Output  string
}

// parseDrvOutput reads "sha256:<hex>!<output>".
func parseDrvOutput(text string) (DrvOutput, error) {
	hash, output, ok := strings.Cut(text, "!")
	digits, ok2 := strings.CutPrefix(hash, "sha256:")
	if !ok || !ok2 {
		return DrvOutput{}, fmt.Errorf("derivation output %.300q: want sha256:<hex>!<output>", text)
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != len(Hash{}) || strings.ToLower(digits) != digits {
		return DrvOutput{}, fmt.Errorf("derivation output %.300q: want 64 lower-case hexadecimal digits", text)
	}
	if err := CheckName(output); err != nil {
		return DrvOutput{}, fmt.Errorf("derivation output %.300q: %w", text, err)
	}
	return DrvOutput{Hash(raw), output}, nil
}

// String returns "sha256:<hex>!<output>".
func (o DrvOutput) String() string {
	return "sha256:" + hex.EncodeToString(o.DrvHash[:]) + "!" + o.Output
}

// A Realisation says which store path an output of a derivation became. Clients
// need it where a derivation does not tell its output paths itself: because
// they are content-addressed, or depend on paths that are.
//
// Two generations of Nix keep it under two names, in two forms, with two
// signatures, and neither reads the other's. A Realisation has the fields of
// both; it has an object in each generation whose name for it is known.
// Formats: realisation.cc in Nix 2.8 and 2.36.
type Realisation struct {
	OutPath StorePath
	Output  string // the output's name, "out" for most

	// Nix up to 2.34: realisations/<DrvHash>!<Output>.doi.
	DrvHash Hash // of the derivation modulo its inputs; zero if not known
	Sigs    []string
	// Dependents are the realisations that this one was made from, with their
	// outcomes. Nix before 2.34 refuses a realisation whose dependents it
	// cannot get; later ones pass over the field.
	Dependents map[DrvOutput]StorePath

	// Nix from 2.35: build-trace-v2/<DrvPath>/<Output>.doi.
	DrvPath   StorePath // the resolved derivation, which has no input derivations; "" if not known
	TraceSigs []string
}

// ID returns the name that Nix up to 2.34 uses.
func (r *Realisation) ID() DrvOutput { return DrvOutput{r.DrvHash, r.Output} }

// RealisationKey is where Nix up to 2.34 looks for a realisation.
func RealisationKey(o DrvOutput) Key { return Key(RealisationsFolder + o.String() + ".doi") }

// BuildTraceKey is where Nix from 2.35 looks for a realisation.
func BuildTraceKey(drv StorePath, output string) Key {
	return Key(BuildTraceFolder + string(drv) + "/" + output + ".doi")
}

// Fingerprint returns the text that Sigs cover: the object without its
// signatures.
func (r *Realisation) Fingerprint() string {
	return string(compactJSON(realisationJSON{
		Dependents: r.dependents(), ID: r.ID().String(), OutPath: string(r.OutPath),
	}))
}

// laterFingerprint is what Nix 2.34 makes of the same object: it no longer
// reads the dependents, and writes none.
func (r *Realisation) laterFingerprint() string {
	bare := *r
	bare.Dependents = nil
	return bare.Fingerprint()
}

// Fingerprints returns the texts of which a good signature among Sigs covers
// one: Fingerprint, and what later versions of Nix make of the same object.
func (r *Realisation) Fingerprints() []string {
	return slices.Compact([]string{r.Fingerprint(), r.laterFingerprint()})
}

// TraceFingerprint returns the text that TraceSigs cover.
func (r *Realisation) TraceFingerprint() string {
	type key struct {
		DrvPath    string `json:"drvPath"`
		OutputName string `json:"outputName"`
	}
	type value struct {
		OutPath string `json:"outPath"`
	}
	return string(compactJSON(struct {
		Key   key   `json:"key"`
		Value value `json:"value"`
	}{key{string(r.DrvPath), r.Output}, value{string(r.OutPath)}}))
}

// Sign adds the signatures of every key, in each generation whose name for the
// realisation is known. With dependents there are two of a key: one for the
// versions of Nix that read them, one for those that do not. A client is
// content with either.
func (r *Realisation) Sign(keys ...signer.SecretKey) error {
	for _, key := range keys {
		if !r.DrvHash.IsZero() {
			for _, print := range r.Fingerprints() {
				sig, err := key.Sign(print)
				if err != nil {
					return err
				}
				r.Sigs = append(r.Sigs, sig)
			}
		}
		if r.DrvPath != "" {
			sig, err := key.Sign(r.TraceFingerprint())
			if err != nil {
				return err
			}
			r.TraceSigs = append(r.TraceSigs, sig)
		}
	}
	r.Sigs = sortedSet(r.Sigs)
	r.TraceSigs = sortedSet(r.TraceSigs)
	return nil
}

// Objects returns the realisation's objects, in one generation or both.
func (r *Realisation) Objects() ([]Object, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	var objects []Object
	if !r.DrvHash.IsZero() {
		objects = append(objects, Object{Key: RealisationKey(r.ID()), Body: Bytes(compactJSON(realisationJSON{
			Dependents: r.dependents(), ID: r.ID().String(), OutPath: string(r.OutPath), Signatures: presentSet(r.Sigs),
		}))})
	}
	if r.DrvPath != "" {
		text, err := r.marshalTrace()
		if err != nil {
			return nil, err
		}
		objects = append(objects, Object{Key: BuildTraceKey(r.DrvPath, r.Output), Body: Bytes(text)})
	}
	return objects, nil
}

// check refuses what Parse would not read again.
func (r *Realisation) check() error {
	if r.DrvHash.IsZero() && r.DrvPath == "" {
		return fmt.Errorf("realisation of %s: neither derivation hash nor derivation", r.OutPath)
	}
	if err := CheckName(r.Output); err != nil {
		return fmt.Errorf("realisation of %s: output: %w", r.OutPath, err)
	}
	if _, err := ParseStorePath(string(r.OutPath)); err != nil {
		return fmt.Errorf("realisation: %w", err)
	}
	if r.DrvPath != "" && !r.DrvPath.IsDerivation() {
		return fmt.Errorf("realisation of %s: %s is no derivation", r.OutPath, r.DrvPath)
	}
	return nil
}
