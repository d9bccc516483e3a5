// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

var never = make(chan int)

const aLongTime = 1000 * time.Hour

func kinds() []func(int) {
	all := []func(int){
		func(int) { go receive() },
		func(int) { go receiveInRange() },
		func(int) { go send() },
		func(int) { go receiveFromNil() },
		func(int) { go sendToNil() },
		func(int) { go selectOfTwo() },
		func(int) { go selectOfMany() },
		func(int) { go selectOfNone() },
		func(int) { go sleep() },
		func(int) { go waitForTimer() },
		func(int) { go waitForTicker() },
		func(int) { time.AfterFunc(time.Millisecond, inTimerFunction) },
		func(int) { go lockMutex() },
		func(int) { go lockForReading() },
		func(int) { go lockForWriting() },
		func(int) { go waitForGroup() },
		func(int) { go waitForCondition() },
		func(int) { go waitForOnce() },
		func(int) { go accept() },
		func(int) { go readFromSocket() },
		func(int) { go writeToSocket() },
		func(int) { go receiveDatagram() },
		func(int) { go readFromUnixSocket() },
		func(int) { go readFromPipe() },
		func(int) { go readInSystemCall() },
		func(int) { go readFromFifo() },
		func(int) { go lockedToThread() },
		func(int) { go pipeInMemory() },
		func(i int) { go labelledWait(i) },
		func(i int) { go labelledByDo(i) },
	}
	return append(append(all, shapes()...), kindsOfC()...)
}

//go:noinline
func receive() { <-never }

//go:noinline
func receiveInRange() {
	for range never {
	}
}

//go:noinline
func send() {
	unheard := make(chan string)
	unheard <- "hello"
}

//go:noinline
func receiveFromNil() {
	var none chan int
	<-none
}

//go:noinline
func sendToNil() {
	var none chan int
	none <- 1
}

//go:noinline
func selectOfTwo() {
	other := make(chan int)
	select {
	case <-never:
	case other <- 1:
	}
}

//go:noinline
func selectOfMany() {
	var channels [6]chan int
	for i := range channels {
		channels[i] = make(chan int)
	}
	select {
	case <-channels[0]:
	case channels[1] <- 1:
	case <-channels[2]:
	case channels[3] <- 1:
	case <-channels[4]:
	case value, ok := <-channels[5]:
		runtime.KeepAlive([]interface{}{value, ok})
	}
}

//go:noinline
func selectOfNone() { select {} }

//go:noinline
func sleep() { time.Sleep(aLongTime) }

//go:noinline
func waitForTimer() { <-time.After(aLongTime) }

//go:noinline
func waitForTicker() {
	for range time.NewTicker(aLongTime).C {
	}
}

//go:noinline
func inTimerFunction() { <-never }

//go:noinline
func lockMutex() {
	var mutex sync.Mutex
	mutex.Lock()
	mutex.Lock()
}

//go:noinline
func lockForReading() {
	var mutex sync.RWMutex
	mutex.Lock()
	mutex.RLock()
}

//go:noinline
func lockForWriting() {
	var mutex sync.RWMutex
	mutex.RLock()
	mutex.Lock()
}

//go:noinline
func waitForGroup() {
	var group sync.WaitGroup
	group.Add(1)
	group.Wait()
}

//go:noinline
func waitForCondition() {
	condition := sync.NewCond(&sync.Mutex{})
	condition.L.Lock()
	for {
		condition.Wait()
	}
}

//go:noinline
func waitForOnce() {
	var once sync.Once
	once.Do(func() { <-never })
}

//go:noinline
func accept() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	known.connected(listener.Addr().String(), "")
	listener.Accept()
}

func connect() (net.Conn, net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	must(err)
	server, err := listener.Accept()
	must(err)
	return client, server
}

//go:noinline
func readFromSocket() {
	client, server := connect()
	known.connected(client.LocalAddr().String(), client.RemoteAddr().String())
	var buffer [8]byte
	client.Read(buffer[:])
	runtime.KeepAlive(server)
}

//go:noinline
func writeToSocket() {
	client, server := connect()
	known.connected(client.LocalAddr().String(), client.RemoteAddr().String())
	must(client.(*net.TCPConn).SetWriteBuffer(4096))
	for buffer := make([]byte, 1<<20); ; {
		client.Write(buffer)
		runtime.KeepAlive(server)
	}
}

//go:noinline
func receiveDatagram() {
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	known.connected(connection.LocalAddr().String(), "")
	var buffer [8]byte
	connection.ReadFrom(buffer[:])
}

//go:noinline
func readFromUnixSocket() {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	file := os.NewFile(uintptr(fds[0]), "pair")
	connection, err := net.FileConn(file)
	must(err)
	var buffer [8]byte
	connection.Read(buffer[:])
	runtime.KeepAlive(file)
}

//go:noinline
func readFromPipe() {
	reader, writer, err := os.Pipe()
	must(err)
	var buffer [8]byte
	reader.Read(buffer[:])
	runtime.KeepAlive(writer)
}

//go:noinline
func readInSystemCall() {
	var fds [2]int
	must(syscall.Pipe(fds[:]))
	var buffer [8]byte
	syscall.Read(fds[0], buffer[:])
}

// Opening a FIFO without a writer blocks in open itself.
//
//go:noinline
func readFromFifo() {
	folder, err := os.MkdirTemp("", "kinds")
	must(err)
	path := filepath.Join(folder, "fifo")
	must(syscall.Mkfifo(path, 0o600))
	go func() { // unlinked while it is being opened
		time.Sleep(300 * time.Millisecond)
		os.RemoveAll(folder)
	}()
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	runtime.KeepAlive([]interface{}{fd, err})
}

//go:noinline
func lockedToThread() {
	runtime.LockOSThread()
	<-never
}

//go:noinline
func pipeInMemory() {
	reader, writer := io.Pipe()
	io.Copy(io.Discard, reader)
	runtime.KeepAlive(writer)
}
