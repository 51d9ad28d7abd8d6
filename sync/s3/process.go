package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/nixstatic/nixstatic/sync/s3/awsconfig"
)

const (
	// maxProcessOutput bounds what a credential_process may print, in bytes.
	maxProcessOutput = 1 << 20
	// outlive is how long something that the process left running may keep its
	// output open.
	outlive = 5 * time.Second
)

// A process is a program that prints credentials, which a profile names.
type process struct {
	credentials.Expiry
	command string
	forGood bool // they do not run out
}

// RetrieveWithCredContext runs the program.
func (p *process) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	ctx := context.Background()
	if cc != nil && cc.Context != nil {
		ctx = cc.Context
	}
	v, err := p.run(ctx)
	if err != nil {
		return v, fmt.Errorf("credential_process: %w", err)
	}
	if p.forGood = v.Expiration.IsZero(); !p.forGood {
		p.SetExpiration(v.Expiration, credentials.DefaultExpiryWindow)
	}
	return v, nil
}

// Retrieve runs the program.
func (p *process) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// IsExpired reports whether the program has to be run again.
func (p *process) IsExpired() bool { return !p.forGood && p.Expiry.IsExpired() }

func (p *process) run(ctx context.Context) (v credentials.Value, err error) {
	words, err := awsconfig.Words(p.command)
	if err != nil {
		return v, err
	}
	if len(words) == 0 {
		return v, errors.New("no program is named")
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.WaitDelay = outlive
	var out, complaint clipped
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		if text := plain(complaint.String()); text != "" {
			err = fmt.Errorf("%w: %s", err, text)
		}
		return v, err
	}
	if out.Len() > maxProcessOutput {
		return v, fmt.Errorf("it prints more than %d bytes", maxProcessOutput)
	}
	return parseProcess(out.Bytes())
}

// parseProcess reads what a program printed. No error repeats any of it.
func parseProcess(text []byte) (v credentials.Value, err error) {
	var printed struct {
		Version                                   float64
		AccessKeyID                               string `json:"AccessKeyId"`
		SecretAccessKey, SessionToken, Expiration string
	}
	if err := json.Unmarshal(text, &printed); err != nil {
		return v, errors.New("what it prints is not the JSON of credentials")
	}
	switch {
	case printed.Version != 1:
		return v, fmt.Errorf("it prints version %g of credentials, not 1", printed.Version)
	case printed.AccessKeyID == "" || printed.SecretAccessKey == "":
		return v, errHalf
	}
	v = credentials.Value{AccessKeyID: printed.AccessKeyID, SecretAccessKey: printed.SecretAccessKey,
		SessionToken: printed.SessionToken, SignerType: credentials.SignatureV4}
	if printed.Expiration == "" {
		return v, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05 Z07:00", "20060102T150405Z0700"} {
		if v.Expiration, err = time.Parse(layout, printed.Expiration); err == nil {
			return v, nil
		}
	}
	return v, errors.New("the expiration that it prints is not a time of ISO 8601 with a zone")
}

// clipped keeps the beginning of what is written, and drops the rest.
type clipped struct{ bytes.Buffer }

func (c *clipped) Write(b []byte) (int, error) {
	room := maxProcessOutput + 1 - c.Len()
	c.Buffer.Write(b[:min(len(b), room)])
	return len(b), nil
}
