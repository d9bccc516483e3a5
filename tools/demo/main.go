// SPDX-License-Identifier: Apache-2.0

// Demo is a small shop that waits in every way a Go service waits: on a lock, on a channel, on a timer, on a peer over
// TLS, on a file lock, on the disk, and in a blocking read of a FIFO. It keeps a log of what it waited for, so that a
// profile of it can be compared with the truth.
//
//	demo serve -state DIR [-snapshot 250ms]     the shop's front; starts its payment backend as a second process
//	demo load -state DIR [-d 15s] [-rate 60]    customers, bounded in time and rate
//
// Everything listens on 127.0.0.1 with a port of the kernel's choice. DIR/demo.json, written when the front is ready,
// tells pids and addresses.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// address is DIR/demo.json.
type address struct {
	Pid        int    `json:"pid"`         // of the front: the process to record
	BackendPid int    `json:"backend_pid"` // of the payment backend
	URL        string `json:"url"`         // of the front
	CertPEM    string `json:"cert_pem"`    // of the front
	Truth      string `json:"truth"`       // the log of waits, one JSON line a snapshot
}

func main() {
	commands := map[string]func([]string) error{"serve": runFront, "backend": runBackend, "load": runLoad}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: demo serve|load -state DIR")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "demo %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// writeWhole replaces a file in one step, so that a reader sees all of it or none.
func writeWhole(path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readAddress(state string) (address, error) {
	var a address
	text, err := os.ReadFile(filepath.Join(state, "demo.json"))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	return a, err
}
