// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	maxRate      = 1000             // requests a second
	maxDuration  = 10 * time.Minute // of one load
	maxInFlight  = 64               // what comes while so many are on their way is counted as shed
	givenUpAfter = 50               // failures without a success between them
)

// runLoad sends requests at a fixed rate, whatever the answers take: two checkouts for one look at the catalogue.
func runLoad(args []string) error {
	flags := flag.NewFlagSet("load", flag.ExitOnError)
	state := flags.String("state", "", "the front's directory")
	duration := flags.Duration("d", 15*time.Second, "how long (at most 10m)")
	rate := flags.Int("rate", 60, "requests a second (at most 1000)")
	flags.Parse(args)
	if *rate < 1 || *rate > maxRate || *duration <= 0 || *duration > maxDuration {
		return errors.New("-rate is 1 to 1000, -d is at most 10m")
	}
	front, err := readAddress(*state)
	if err != nil {
		return fmt.Errorf("is 'demo serve' running with this -state? %w", err)
	}
	trust, err := trusting(front.CertPEM)
	if err != nil {
		return err
	}
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: maxInFlight},
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)

	var sent, failed, shed, failedInRow atomic.Int64
	inFlight := make(chan struct{}, maxInFlight)
	var requests sync.WaitGroup
	ticker := time.NewTicker(time.Second / time.Duration(*rate))
	defer ticker.Stop()
	end := time.After(*duration)
	for running := true; running && failedInRow.Load() < givenUpAfter; {
		select {
		case <-end:
			running = false
		case <-signals:
			running = false
		case <-ticker.C:
			select {
			case inFlight <- struct{}{}:
			default:
				shed.Add(1)
				continue
			}
			path := "/checkout"
			if sent.Add(1)%3 == 0 {
				path = "/browse"
			}
			requests.Add(1)
			go func() {
				defer requests.Done()
				defer func() { <-inFlight }()
				if err := get(client, front.URL+path); err != nil {
					failed.Add(1)
					failedInRow.Add(1)
					return
				}
				failedInRow.Store(0)
			}()
		}
	}
	requests.Wait()
	fmt.Fprintf(os.Stdout, "%d requests, %d failed, %d shed\n", sent.Load(), failed.Load(), shed.Load())
	if failedInRow.Load() >= givenUpAfter {
		return errors.New("the front does not answer")
	}
	return nil
}

func get(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}
