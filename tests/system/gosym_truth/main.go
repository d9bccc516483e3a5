// SPDX-License-Identifier: Apache-2.0

// Names addresses of a Go program with Go's own reader of pclntab, debug/gosym. Reads hexadecimal addresses, prints for
// each "entry function file:line", "??" for none. The entry is the function's address; the line is the innermost one,
// while the function is the outermost: gosym knows no inlining. On standard error: the seconds it took to open the file
// and to name all addresses.
package main

import (
	"bufio"
	"debug/elf"
	"debug/gosym"
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func fail(why string) {
	fmt.Fprintln(os.Stderr, "gosym_truth: "+why)
	os.Exit(1)
}

func open(path string) *gosym.Table {
	file, err := elf.Open(path)
	if err != nil {
		fail(err.Error())
	}
	section := file.Section(".gopclntab")
	if section == nil {
		fail("no .gopclntab in " + path)
	}
	table, err := section.Data()
	if err != nil {
		fail(err.Error())
	}
	// The text base from the table's own header, not the start of .text: C code comes first in a cgo program.
	text := binary.LittleEndian.Uint64(table[24:])
	if text == 0 {
		fail("the table's header has no text base (Go 1.26 and later)")
	}
	symbols, err := gosym.NewTable(nil, gosym.NewLineTable(table, text))
	if err != nil {
		fail(err.Error())
	}
	return symbols
}

func main() {
	var addresses []uint64
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		address, err := strconv.ParseUint(strings.TrimPrefix(input.Text(), "0x"), 16, 64)
		if err != nil {
			fail(err.Error())
		}
		addresses = append(addresses, address)
	}
	start := time.Now()
	symbols := open(os.Args[1])
	opened := time.Now()
	output := bufio.NewWriter(os.Stdout)
	for _, address := range addresses {
		file, line, function := symbols.PCToLine(address)
		if function == nil {
			fmt.Fprintln(output, "??")
			continue
		}
		fmt.Fprintf(output, "%x %s %s:%d\n", function.Entry, function.Name, file, line)
	}
	output.Flush()
	fmt.Fprintf(os.Stderr, "%.6f %.6f\n", opened.Sub(start).Seconds(), time.Since(opened).Seconds())
}
