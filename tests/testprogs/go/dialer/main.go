// SPDX-License-Identifier: Apache-2.0

// Dials as it is told, one order a line, and prints what came of it as one line of JSON:
//
//	dial PATH ADDRESS COUNT TIMEOUT_MS
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

//go:noinline
func pathA(address string, timeout time.Duration) error { return dial(address, timeout) }

//go:noinline
func pathB(address string, timeout time.Duration) error { return dial(address, timeout) }

//go:noinline
func dial(address string, timeout time.Duration) error {
	connection, err := net.DialTimeout("tcp", address, timeout)
	if err == nil {
		connection.Close()
	}
	return err
}

type answer struct {
	Errors  map[string]int `json:"errors"`
	GivenUp int            `json:"given_up"`
}

func main() {
	fmt.Println("ready")
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		var path, address string
		var count, timeout int
		if n, _ := fmt.Sscanf(orders.Text(), "dial %s %s %d %d", &path, &address, &count, &timeout); n != 4 {
			fmt.Fprintln(os.Stderr, "what is", orders.Text())
			os.Exit(1)
		}
		result := answer{Errors: map[string]int{}}
		for i := 0; i < count; i++ {
			through := pathA
			if path == "b" {
				through = pathB
			}
			err := through(address, time.Duration(timeout)*time.Millisecond)
			var number syscall.Errno
			var network net.Error
			switch {
			case err == nil:
				result.Errors["0"]++
			case errors.As(err, &number):
				result.Errors[strconv.Itoa(int(number))]++
			case errors.As(err, &network) && network.Timeout():
				result.GivenUp++
			default:
				result.Errors[err.Error()]++
			}
		}
		line, _ := json.Marshal(result)
		fmt.Println(string(line))
	}
}
