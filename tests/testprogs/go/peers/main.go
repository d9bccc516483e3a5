// SPDX-License-Identifier: Apache-2.0

// Peers has goroutines that know whom or what they wait for: the other end of a connection, the address of a channel, a
// mutex, a wait group.
//
//	peers still COPIES    so many of each kind, parked for good
//	peers moving PAIRS    so many pairs that change what they wait for as fast as they can. Each wait is below as many
//	                      calls of main.down as the number of what is waited for says
//
// Prints a line of JSON once all stand, or run:
//
//	still     {goroutine: {"kind": ..., "peer": ...}}; an empty peer: there is none to be told
//	moving    {peer: number of calls of main.down}
//
// and ends with stdin.
package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

type fact struct {
	Kind string `json:"kind"`
	Peer string `json:"peer"`
}

var known = struct {
	sync.Mutex
	facts map[int]fact
}{facts: map[int]fact{}}

func ownID() int {
	var text [64]byte
	words := bytes.Fields(text[:runtime.Stack(text[:], false)])
	id, err := strconv.Atoi(string(words[1]))
	must(err)
	return id
}

// Says whom the goroutine that calls is going to wait for.
func waitsFor(kind, peer string) {
	known.Lock()
	known.facts[ownID()] = fact{kind, peer}
	known.Unlock()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// What must not be collected while goroutines wait for it.
var kept []interface{}
var keptLock sync.Mutex

func keep(thing interface{}) {
	keptLock.Lock()
	kept = append(kept, thing)
	keptLock.Unlock()
}

func connect(network, address string) (client, server net.Conn) {
	listener, err := net.Listen(network, address)
	must(err)
	defer listener.Close()
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	client, err = net.Dial(network, listener.Addr().String())
	must(err)
	server, err = listener.Accept()
	must(err)
	keep(client)
	keep(server)
	return client, server
}

func readFrom(kind string, connection net.Conn) {
	waitsFor(kind, connection.RemoteAddr().String())
	var buffer [8]byte
	connection.Read(buffer[:])
}

func readTCP()          { client, _ := connect("tcp", "127.0.0.1:0"); readFrom("read", client) }
func readAccepted()     { _, server := connect("tcp", "127.0.0.1:0"); readFrom("read, accepted", server) }
func readDualStack()    { _, server := connect("tcp", ":0"); readFrom("read, dual stack", server) }
func readV6()           { client, _ := connect("tcp6", "[::1]:0"); readFrom("read, IPv6", client) }
func readUnixAsClient() { client, _ := connect("unix", socketPath()); readFrom("read, unix", client) }

func writeTCP() {
	client, _ := connect("tcp", "127.0.0.1:0")
	waitsFor("write", client.RemoteAddr().String())
	for buffer := make([]byte, 1<<16); ; {
		if _, err := client.Write(buffer); err != nil {
			return
		}
	}
}

func readThroughCopy() {
	client, _ := connect("tcp", "127.0.0.1:0")
	waitsFor("read, io.Copy", client.RemoteAddr().String())
	io.Copy(io.Discard, client)
}

// On Linux a copy from connection to connection is done by splice.
func readThroughSplice() {
	client, _ := connect("tcp", "127.0.0.1:0")
	other, _ := connect("tcp", "127.0.0.1:0")
	waitsFor("read, splice", client.RemoteAddr().String())
	io.Copy(other, client)
}

func readTLS() {
	client, _ := connect("tcp", "127.0.0.1:0")
	waitsFor("read, TLS", client.RemoteAddr().String())
	tls.Client(client, &tls.Config{InsecureSkipVerify: true}).Handshake()
}

func readRaw() {
	client, _ := connect("tcp", "127.0.0.1:0")
	raw, err := client.(*net.TCPConn).SyscallConn()
	must(err)
	waitsFor("read, raw", client.RemoteAddr().String())
	raw.Read(func(uintptr) bool { return false })
}

// A copy of the descriptor, which belongs to no net.Conn.
func readAsFile() {
	client, _ := connect("tcp", "127.0.0.1:0")
	copied, err := syscall.Dup(descriptor(client))
	must(err)
	waitsFor("read, as a file", client.RemoteAddr().String())
	var buffer [8]byte
	os.NewFile(uintptr(copied), "socket").Read(buffer[:])
}

func readPipe() {
	reader, writer, err := os.Pipe()
	must(err)
	keep(writer)
	waitsFor("pipe", "")
	var buffer [8]byte
	reader.Read(buffer[:])
}

func accept() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	waitsFor("accept", "listen "+listener.Addr().String())
	listener.Accept()
}

func acceptUnix() {
	listener, err := net.Listen("unix", socketPath())
	must(err)
	waitsFor("accept, unix", "listen "+listener.Addr().String())
	listener.Accept()
}

func readDatagram() {
	connection, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	waitsFor("datagram", "local "+connection.LocalAddr().String())
	var buffer [8]byte
	connection.ReadFrom(buffer[:])
}

func readConnectedDatagram() {
	connection, err := net.Dial("udp", "127.0.0.1:9")
	must(err)
	readFrom("datagram, connected", connection)
}

// A listener that takes no more connections: the next one hangs.
var full struct {
	sync.Once
	address string
}

func fullListener() string {
	full.Do(func() { full.address = makeFullListener() })
	return full.address
}

func makeFullListener() string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(err)
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	must(err)
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for i := 0; i < 4; i++ {
		if connection, err := net.DialTimeout("tcp", address, 200*time.Millisecond); err == nil {
			keep(connection)
		}
	}
	return address
}

func dial() {
	address := fullListener()
	waitsFor("connect", address)
	net.Dial("tcp", address)
}

// A descriptor that becomes another connection behind the runtime's back.
func readStolen() {
	client, _ := connect("tcp", "127.0.0.1:0")
	other, _ := connect("tcp", "127.0.0.1:0")
	go func() {
		time.Sleep(100 * time.Millisecond)
		must(syscall.Dup3(descriptor(other), descriptor(client), syscall.O_CLOEXEC))
	}()
	readFrom("stolen", client)
}

func descriptor(connection net.Conn) int {
	raw, err := connection.(*net.TCPConn).SyscallConn()
	must(err)
	number := -1
	must(raw.Control(func(fd uintptr) { number = int(fd) }))
	return number
}

func receive() {
	channel := make(chan int)
	waitsFor("chan receive", fmt.Sprintf("%p", channel))
	<-channel
	keep(channel)
}

func receiveBuffered() {
	channel := make(chan [100]int, 10)
	waitsFor("chan receive", fmt.Sprintf("%p", channel))
	for range channel {
		keep(channel)
	}
}

func send() {
	channel := make(chan string)
	waitsFor("chan send", fmt.Sprintf("%p", channel))
	channel <- "x"
	keep(channel)
}

func receiveFromNil() {
	var channel chan int
	waitsFor("nil channel", "")
	<-channel
}

func choose() {
	one, two := make(chan int), make(chan int)
	waitsFor("select", "")
	select {
	case <-one:
	case <-two:
	}
}

func sleep() {
	waitsFor("sleep", "")
	time.Sleep(time.Hour)
}

type guarded struct {
	before [5]int64
	sync.Mutex
	sync.WaitGroup
}

func lock() {
	object := new(guarded)
	object.Lock()
	waitsFor("Mutex", fmt.Sprintf("%p", &object.Mutex))
	object.Lock()
	keep(object)
}

func lockAsLocker() {
	mutex := new(sync.Mutex)
	mutex.Lock()
	var locker sync.Locker = mutex
	waitsFor("Mutex", fmt.Sprintf("%p", mutex))
	locker.Lock()
}

func lockToRead() {
	mutex := new(sync.RWMutex)
	mutex.Lock()
	waitsFor("RWMutex, read", fmt.Sprintf("%p", mutex))
	mutex.RLock()
}

func lockToWrite() {
	mutex := new(sync.RWMutex)
	mutex.RLock()
	waitsFor("RWMutex, write", fmt.Sprintf("%p", mutex))
	mutex.Lock()
}

func lockBehindWriter() {
	mutex := new(sync.RWMutex)
	mutex.Lock()
	waitsFor("RWMutex, write", fmt.Sprintf("%p", mutex))
	mutex.Lock()
}

func waitForGroup() {
	object := new(guarded)
	object.Add(1)
	waitsFor("WaitGroup", fmt.Sprintf("%p", &object.WaitGroup))
	object.Wait()
	keep(object)
}

func waitForCondition() {
	condition := sync.NewCond(new(sync.Mutex))
	condition.L.Lock()
	waitsFor("Cond", fmt.Sprintf("%p", condition))
	condition.Wait()
}

var folder string
var paths struct {
	sync.Mutex
	count int
}

func socketPath() string {
	paths.Lock()
	defer paths.Unlock()
	paths.count++
	return filepath.Join(folder, fmt.Sprintf("s%d", paths.count))
}

func still(copies int) interface{} {
	kinds := []func(){readTCP, readAccepted, readDualStack, writeTCP, readThroughCopy, readThroughSplice, readTLS, readRaw,
		readAsFile, readPipe, accept, acceptUnix, readUnixAsClient, readDatagram, readConnectedDatagram, dial, readStolen, receive,
		receiveBuffered, send, receiveFromNil, choose, sleep, lock, lockAsLocker, lockToRead, lockToWrite, lockBehindWriter,
		waitForGroup, waitForCondition}
	if listener, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		listener.Close()
		kinds = append(kinds, readV6)
	}
	for _, kind := range kinds {
		for i := 0; i < copies; i++ {
			go kind()
		}
	}
	time.Sleep(2 * time.Second) // all have found their place, and the full listener is full
	known.Lock()
	defer known.Unlock()
	return known.facts
}

func main() {
	count, err := strconv.Atoi(os.Args[2])
	must(err)
	folder, err = os.MkdirTemp("", "peers")
	must(err)
	defer os.RemoveAll(folder)
	var facts interface{}
	if os.Args[1] == "still" {
		facts = still(count)
	} else {
		facts = moving(count)
	}
	text, err := json.Marshal(facts)
	must(err)
	fmt.Println(string(text))
	io.Copy(io.Discard, os.Stdin)
}
