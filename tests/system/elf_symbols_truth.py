#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random text addresses of a large C++ library: our names against llvm-symbolizer's.

usage: elf_symbols_truth.py SYMBOLIZE [LIBRARY] [--count N] [--seed N]

SYMBOLIZE is the built tools/symbolize; LIBRARY defaults to the largest libLLVM found. An answer is right when it is the
name of any symbol whose [value, value + size) holds the address (readelf says which: the symbol table itself is the
truth for what may be said) and wrong otherwise. Where we are silent, llvm-symbolizer must be too. llvm-symbolizer's own
answers are judged by the same rule, and the time of both is taken in alternation. Exit: 0 right, 1 wrong, 77 skipped.
"""
import argparse
import bisect
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import time


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def find_library():
    found = [p for pattern in ("/usr/lib/*/libLLVM-*.so.1", "/usr/lib/llvm-*/lib/libLLVM*.so*", "/usr/lib/*/libLLVM.so.*")
             for p in glob.glob(pattern) if os.path.isfile(p)]
    if not found:
        skip("no libLLVM here: apt-get install llvm-14")
    return max((os.path.realpath(p) for p in found), key=os.path.getsize)


def read_functions(path):
    """[(start, end, linker name)] of sized function symbols, sorted, from readelf."""
    functions = []
    out = subprocess.run(["readelf", "--wide", "--syms", path], check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        field = line.split()
        if len(field) < 8 or field[3] not in ("FUNC", "IFUNC", "NOTYPE") or field[6] == "UND":
            continue
        start, size = int(field[1], 16), int(field[2], 0)
        if size:
            functions.append((start, start + size, field[7].split("@")[0]))
    return sorted(set(functions))


def text_range(path):
    out = subprocess.run(["readelf", "--wide", "--sections", path], check=True, capture_output=True, text=True).stdout
    match = re.search(r" \.text\s+PROGBITS\s+(\w+) \w+ (\w+)", out)
    start, size = int(match[1], 16), int(match[2], 16)
    return start, start + size


class Truth:
    def __init__(self, functions):
        self.functions = functions
        self.starts = [f[0] for f in functions]
        self.longest = max(f[1] - f[0] for f in functions)

    def linker_names(self, address):
        names, i = set(), bisect.bisect_right(self.starts, address) - 1
        while i >= 0 and self.starts[i] > address - self.longest:
            if self.functions[i][1] > address:
                names.add(self.functions[i][2])
            i -= 1
        return names


def demangler(tool):
    """One c++filt over all names that are needed, so that both sides are compared in one spelling."""
    def demangle(names):
        names = sorted(names)
        out = subprocess.run([tool], input="\n".join(names) + "\n", check=True, capture_output=True, text=True).stdout
        return dict(zip(names, out.splitlines()))
    return demangle


def squeeze(name):
    """Demanglers differ in spaces and in how they print closing brackets; nothing else is forgiven."""
    return name.replace(" ", "")


def run(command, text):
    start = time.monotonic()
    out = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    return time.monotonic() - start, out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("symbolize")
    parser.add_argument("library", nargs="?")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    reference = next((p for p in ("llvm-symbolizer", "llvm-symbolizer-14", "llvm-symbolizer-19") if shutil.which(p)), None)
    if reference is None:
        skip("llvm-symbolizer is not installed: apt-get install llvm")
    for tool in ("readelf", "c++filt"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed: apt-get install binutils")
    library = options.library or find_library()

    truth = Truth(read_functions(library))
    low, high = text_range(library)
    rng = random.Random(options.seed)
    addresses = [rng.randrange(low, high) for _ in range(options.count)]
    text = "".join(f"{a:#x}\n" for a in addresses)

    ours_command = [options.symbolize, "-n", library]
    # Two runs of the reference: demangled for the time, as linker names to judge it and to see where it is silent.
    reference_command = [reference, "--obj=" + library, "--functions=linkage", "--no-inlines"]
    times = {"ours": [], "reference": []}
    for _ in range(3):  # in alternation, so that both meet the same machine
        elapsed, ours_out = run(ours_command, text)
        times["ours"].append(elapsed)
        elapsed, _ = run(reference_command + ["--demangle"], text)
        times["reference"].append(elapsed)
    _, reference_out = run(reference_command + ["--no-demangle"], text)

    ours = ours_out.splitlines()
    reference_names = [block.split("\n")[0] for block in reference_out.strip("\n").split("\n\n")]
    if len(ours) != len(addresses) or len(reference_names) != len(addresses):
        print(f"FAILED: {len(addresses)} addresses, {len(ours)} answers, {len(reference_names)} of the reference")
        return 1

    wanted = [truth.linker_names(a) for a in addresses]
    spelling = demangler("c++filt")(set().union(*wanted))
    llvm_filt = next((p for p in ("llvm-cxxfilt", "llvm-cxxfilt-14", "llvm-cxxfilt-19") if shutil.which(p)), None)
    llvm_spelling = demangler(llvm_filt)(set().union(*wanted)) if llvm_filt else {}

    wrong, silent, reference_wrong, reference_silent = [], 0, 0, 0
    for address, name, other, linker_names in zip(addresses, ours, reference_names, wanted):
        allowed = {squeeze(s[n]) for s in (spelling, llvm_spelling) if s for n in linker_names} | linker_names
        if name == "??":
            silent += 1
            if linker_names:
                wrong.append((address, name, f"silent, but the table has {sorted(linker_names)[0]}"))
        elif name not in allowed and squeeze(name) not in allowed:
            wrong.append((address, name, f"expected one of {sorted(allowed)[:3]}"))
        if other == "??":
            reference_silent += 1
        elif other.split("@")[0] not in linker_names:
            reference_wrong += 1

    count = len(addresses)
    best = {side: min(values) for side, values in times.items()}
    print(f"library             {library}, {os.path.getsize(library) / 1e6:.0f} MB, {len(truth.functions)} functions")
    print(f"addresses           {count} in .text, seed {options.seed}")
    print(f"ours                {len(wrong)} wrong, {100 * silent / count:.2f} % unnamed (no symbol there), "
          f"{count / best['ours']:,.0f} a second with demangling and start")
    print(f"{reference:19} {reference_wrong} wrong, {100 * reference_silent / count:.2f} % unnamed, "
          f"{count / best['reference']:,.0f} a second with demangling and start")
    for address, name, why in wrong[:10]:
        print(f"  wrong at {address:#x}: {name!r}: {why}")
    return 1 if wrong or silent == count else 0


if __name__ == "__main__":
    sys.exit(main())
