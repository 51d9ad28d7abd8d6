package minio

import (
	"bytes"
	"fmt"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

// A process is the program behind a Server. It may be killed and started again,
// at the same address and with the same drives, by one goroutine at a time.
type process struct {
	args, env []string
	health    string // URL that answers 200 when the drives are there

	cmd    *exec.Cmd
	log    *bytes.Buffer // read once the program has ended
	exited chan struct{}
}

// start runs the program and waits until it is ready.
func (p *process) start() error {
	p.cmd, p.log, p.exited = exec.Command(p.args[0], p.args[1:]...), new(bytes.Buffer), make(chan struct{})
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = withUs()
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait()
		close(exited)
	}(p.cmd, p.exited)
	if !p.ready() {
		p.Kill()
		return fmt.Errorf("MinIO does not become ready:\n%s", p.log.String())
	}
	return nil
}

// ready waits until the server has its drives, or has ended.
func (p *process) ready() bool {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-p.exited:
			return false
		case <-time.After(50 * time.Millisecond):
		}
		resp, err := client.Get(p.health)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return true
		}
	}
	return false
}

// Kill ends the server at once, as a power cut does but for what the kernel still
// holds.
func (p *process) Kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		<-p.exited
		p.cmd = nil
	}
}

// Restart starts a server that was killed, and waits until it is ready.
func (p *process) Restart(t testing.TB) {
	t.Helper()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
}
