// SPDX-License-Identifier: Apache-2.0

// A client that reads its answers to their end, and one that closes them half read: net/http can use a connection
// again only in the first case. Each dials by a function of its own.
//
//	reuse serve                       prints its address; answers with a body that is larger than any buffer
//	reuse ask ADDRESS REQUESTS_A_S    asks both ways until it is told to stop, then prints {"drained": N, "closed": N}
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const bodySize = 8 << 20

//go:noinline
func dialDrained(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

//go:noinline
func dialClosed(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, address)
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	body := make([]byte, bodySize)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := bodySize
		if r.URL.Path == "/small" {
			size = 1000
		}
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Write(body[:size])
	}))
	bufio.NewReader(os.Stdin).ReadString('\n')
}

func ask(url string, client *http.Client, drain bool) {
	answer, err := client.Get(url)
	if err != nil {
		panic(err)
	}
	if drain {
		io.Copy(io.Discard, answer.Body)
	}
	answer.Body.Close()
}

func main() {
	if os.Args[1] == "serve" {
		serve()
		return
	}
	rate, _ := strconv.Atoi(os.Args[3])
	stop := make(chan struct{})
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	input.ReadString('\n')
	go func() {
		input.ReadString('\n')
		close(stop)
	}()
	drained := &http.Client{Transport: &http.Transport{DialContext: dialDrained}}
	closed := &http.Client{Transport: &http.Transport{DialContext: dialClosed}}
	count := 0
	for tick := time.NewTicker(time.Second / time.Duration(rate)); ; count++ {
		select {
		case <-tick.C:
			ask("http://"+os.Args[2]+"/small", drained, true)
			ask("http://"+os.Args[2]+"/large", closed, false)
			continue
		case <-stop:
		}
		break
	}
	fmt.Printf("{\"drained\": %d, \"closed\": %d}\n", count, count)
}
