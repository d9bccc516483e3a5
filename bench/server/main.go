// SPDX-License-Identifier: Apache-2.0

// A Go HTTP service to record under load: "/" answers at once, so that nearly each request is a wait and a wake-up;
// "/work" also hands a value through a channel to one of four goroutines, which take turns on a mutex.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
)

type job struct {
	value int
	done  chan int
}

func serve(jobs chan job, mutex *sync.Mutex, total *int) {
	for j := range jobs {
		mutex.Lock()
		*total += j.value
		sum := *total
		mutex.Unlock()
		j.done <- sum
	}
}

func main() {
	jobs := make(chan job)
	var mutex sync.Mutex
	total := 0
	for i := 0; i < 4; i++ {
		go serve(jobs, &mutex, &total)
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") })
	http.HandleFunc("/work", func(w http.ResponseWriter, r *http.Request) {
		j := job{1, make(chan int)}
		jobs <- j
		fmt.Fprintln(w, <-j.done)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	fmt.Fprintln(os.Stderr, http.Serve(listener, nil))
	os.Exit(1)
}
