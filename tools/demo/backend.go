// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// hello is the one line by which the backend tells its parent where it listens.
type hello struct {
	URL     string `json:"url"`
	CertPEM string `json:"cert_pem"`
}

// backendProcess is the front's view of the backend. The backend ends when its standard input does, so it outlives its
// parent in no case.
type backendProcess struct {
	hello
	pid   int
	child *exec.Cmd
	stdin io.Closer
}

func startBackend(state string) (*backendProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child := exec.Command(self, "backend", "-state", state)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	backend := &backendProcess{pid: child.Process.Pid, child: child, stdin: stdin}
	if err := json.NewDecoder(stdout).Decode(&backend.hello); err != nil {
		return nil, fmt.Errorf("the backend did not start: %w", err)
	}
	return backend, nil
}

func (b *backendProcess) stop() {
	b.stdin.Close()
	b.child.Wait()
}

// payments calls the backend over TLS; one call in four does so over a fresh connection.
type payments struct {
	url           string
	pooled, fresh *http.Client
}

func newPayments(backend *backendProcess) (*payments, error) {
	trust, err := trusting(backend.CertPEM)
	if err != nil {
		return nil, err
	}
	return &payments{
		url:    backend.URL,
		pooled: &http.Client{Transport: &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 64}},
		fresh:  &http.Client{Transport: &http.Transport{TLSClientConfig: trust.Clone(), DisableKeepAlives: true}},
	}, nil
}

func (p *payments) charge(order int64) error {
	client := p.pooled
	if order%4 == 0 {
		client = p.fresh
	}
	response, err := client.Get(fmt.Sprintf("%s/charge?order=%d", p.url, order))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// runBackend is the second process: the bank, the auditor who takes the ledger's lock, and the hand that scans goods.
func runBackend(args []string) error {
	flags := flag.NewFlagSet("backend", flag.ExitOnError)
	state := flags.String("state", "", "the front's directory")
	flags.Parse(args)
	if *state == "" {
		return errors.New("-state DIR is needed")
	}
	certificate, certPEM, err := newCertificate("payment backend")
	if err != nil {
		return err
	}
	listener, err := listenTLS(certificate)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(hello{"https://" + listener.Addr().String(), certPEM}); err != nil {
		return err
	}
	go scanGoods(filepath.Join(*state, "scanner.fifo"))
	go auditLedger(filepath.Join(*state, "ledger.lock"))
	server := &http.Server{Handler: http.HandlerFunc(handleCharge), ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(listener)
	io.Copy(io.Discard, os.Stdin)
	return nil
}

func handleCharge(w http.ResponseWriter, r *http.Request) {
	time.Sleep(8 * time.Millisecond)
	fmt.Fprintln(w, "charged")
}

func scanGoods(fifo string) {
	scanner, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	for err == nil {
		time.Sleep(200 * time.Millisecond)
		_, err = scanner.WriteString("one more box\n")
	}
}

func auditLedger(path string) {
	lock, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	for err == nil {
		time.Sleep(40 * time.Millisecond)
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err == nil {
			time.Sleep(15 * time.Millisecond)
			err = syscall.Flock(int(lock.Fd()), syscall.LOCK_UN)
		}
	}
}
