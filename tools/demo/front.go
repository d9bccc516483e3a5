// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// shop is the front. Each of its waits stands in a function named after it.
type shop struct {
	state    string
	truth    *truth
	stock    sync.Mutex   // contended: the recount holds it while it sleeps
	receipts chan receipt // to the one slow printer of receipts
	payments *payments
	journal  *os.File
	orders   atomic.Int64
}

type receipt struct {
	order   int64
	printed chan struct{}
}

func runFront(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	state := flags.String("state", "", "directory for addresses, log and files (must exist)")
	interval := flags.Duration("snapshot", 250*time.Millisecond, "between two lines of the log of waits")
	flags.Parse(args)
	if *state == "" {
		return errors.New("-state DIR is needed")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)

	for _, fifo := range []string{"scanner.fifo", "printer.fifo"} {
		if err := syscall.Mkfifo(filepath.Join(*state, fifo), 0o600); err != nil && err != syscall.EEXIST {
			return fmt.Errorf("mkfifo %s: %w", fifo, err)
		}
	}
	backend, err := startBackend(*state)
	if err != nil {
		return err
	}
	defer backend.stop()
	s, err := openShop(*state, backend)
	if err != nil {
		return err
	}

	logFile, err := os.Create(filepath.Join(*state, "truth.jsonl"))
	if err != nil {
		return err
	}
	stop, logged := make(chan struct{}), make(chan struct{})
	go func() {
		s.truth.keepLog(logFile, *interval, stop)
		close(logged)
	}()
	go s.recountStock()
	go s.renderReceipts()
	go s.watchScanner()
	go s.pollPrinter()

	certificate, certPEM, err := newCertificate("shop front")
	if err != nil {
		return err
	}
	listener, err := listenTLS(certificate)
	if err != nil {
		return err
	}
	handler := http.NewServeMux()
	handler.HandleFunc("/browse", s.handleBrowse)
	handler.HandleFunc("/checkout", s.handleCheckout)
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready := address{os.Getpid(), backend.pid, "https://" + listener.Addr().String(), certPEM, logFile.Name()}
	if err := writeWhole(filepath.Join(*state, "demo.json"), ready); err != nil {
		return err
	}

	select {
	case <-signals:
	case err = <-served:
	}
	close(stop)
	<-logged
	return err
}

func openShop(state string, backend *backendProcess) (*shop, error) {
	payments, err := newPayments(backend)
	if err != nil {
		return nil, err
	}
	journal, err := os.OpenFile(filepath.Join(state, "journal"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	return &shop{state: state, truth: newTruth(), receipts: make(chan receipt), payments: payments, journal: journal}, nil
}

func (s *shop) handleBrowse(w http.ResponseWriter, r *http.Request) {
	s.throttle()
	fmt.Fprintf(w, "catalogue %x\n", priceCatalogue())
}

func (s *shop) handleCheckout(w http.ResponseWriter, r *http.Request) {
	order := s.orders.Add(1)
	s.reserveStock()
	if err := s.chargeCard(order); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	if err := s.writeLedger(order); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	s.printReceipt(order)
	fmt.Fprintf(w, "order %d\n", order)
}

// throttle is the naive rate limit that every shop has somewhere.
func (s *shop) throttle() {
	s.truth.wait("throttle", func() { time.Sleep(5 * time.Millisecond) })
}

// priceCatalogue is a little CPU: a millisecond or so.
func priceCatalogue() [sha256.Size]byte {
	var sum [sha256.Size]byte
	for i := 0; i < 4000; i++ {
		sum = sha256.Sum256(sum[:])
	}
	return sum
}

// reserveStock waits for the lock that the recount holds too long.
func (s *shop) reserveStock() {
	s.truth.wait("reserveStock", s.stock.Lock)
	s.stock.Unlock()
}

// recountStock sleeps while it holds the lock: the bug of this shop.
func (s *shop) recountStock() {
	for {
		s.stock.Lock()
		time.Sleep(20 * time.Millisecond)
		s.stock.Unlock()
		time.Sleep(30 * time.Millisecond)
	}
}

func (s *shop) chargeCard(order int64) (err error) {
	s.truth.wait("chargeCard", func() { err = s.payments.charge(order) })
	return err
}

// writeLedger appends to the journal under the file lock that the backend's audit takes as well. Both waits block a
// thread in the kernel, under a Go stack.
func (s *shop) writeLedger(order int64) error {
	lock, err := syscall.Open(filepath.Join(s.state, "ledger.lock"), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer syscall.Close(lock)
	s.truth.wait("waitForLedgerLock", func() { err = waitForLedgerLock(lock) })
	if err != nil {
		return err
	}
	s.truth.wait("appendJournal", func() { err = s.appendJournal(order) })
	return err
}

func waitForLedgerLock(lock int) error {
	for {
		if err := syscall.Flock(lock, syscall.LOCK_EX); err != syscall.EINTR {
			return err
		}
	}
}

func (s *shop) appendJournal(order int64) error {
	if _, err := fmt.Fprintf(s.journal, "order %d\n", order); err != nil {
		return err
	}
	return s.journal.Sync()
}

// printReceipt waits for its turn in the pipeline and for the pipeline itself.
func (s *shop) printReceipt(order int64) {
	s.truth.wait("printReceipt", func() {
		printed := make(chan struct{})
		s.receipts <- receipt{order, printed}
		<-printed
	})
}

func (s *shop) renderReceipts() {
	for r := range s.receipts {
		time.Sleep(4 * time.Millisecond)
		close(r.printed)
	}
}

// watchScanner reads the warehouse's scanner, which says something five times a second.
func (s *shop) watchScanner() {
	s.readFIFO("scanner.fifo", "watchScanner")
}

// pollPrinter waits for a printer that never answers: the thread that hangs.
func (s *shop) pollPrinter() {
	s.readFIFO("printer.fifo", "pollPrinter")
}

// readFIFO bypasses Go's poller on purpose: the thread itself blocks in read(2).
func (s *shop) readFIFO(name, site string) {
	fd, err := syscall.Open(filepath.Join(s.state, name), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	buffer := make([]byte, 64)
	for err == nil || err == syscall.EINTR {
		start := s.truth.begin(site)
		_, err = syscall.Read(fd, buffer)
		s.truth.end(site, start)
	}
}
