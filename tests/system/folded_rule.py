#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks folded stacks against the rules of the programs that read them.

As a script: folded_rule.py FILE... (or - for stdin) prints each line that breaks a rule and exits 1, else 0.
As a module: broken_rule(line), check(text).
"""
import re
import sys

# flamegraph.pl: the stack, white space, a number. Perl matches bytes here, hence re.ASCII.
FLAMEGRAPH = re.compile(r"^(.*)\s+?(\d+(?:\.\d*)?)$", re.ASCII)
# speedscope: exactly one space and an integer.
SPEEDSCOPE = re.compile(r"^(.*) (\d+)$", re.ASCII)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def broken_rule(line):
    """The rule that `line` (text without its newline) breaks, in words; None when it fits all of them."""
    if CONTROL.search(line):
        return "holds a control character"
    whole = SPEEDSCOPE.match(line)
    if not whole:
        return "is not a stack, one space and an integer (speedscope)"
    flamegraph = FLAMEGRAPH.match(line)
    if not flamegraph or flamegraph.groups() != whole.groups():
        return "is read differently by flamegraph.pl and speedscope"
    stack = whole.group(1)
    if FLAMEGRAPH.match(stack):
        return "is read as two columns (a diff)"
    frames = stack.split(";")
    if any(frame == "" for frame in frames):
        return "has an empty frame"
    if any(frame != frame.strip(" ") for frame in frames):
        return "has a frame that begins or ends in a space"
    if " " in frames[0]:
        return "has a space in its first frame (comm)"
    if int(whole.group(2)) == 0:
        return "weighs nothing"
    return None


def check(data):
    """Rules broken by `data` (bytes of a folded file), as (line number, rule); line 0 is the file as a whole."""
    broken = []
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return [(0, f"is not UTF-8: {error}")]
    if text and not text.endswith("\n"):
        broken.append((0, "does not end in a newline"))
    lines = text.removesuffix("\n").split("\n") if text else []
    for number, line in enumerate(lines, 1):
        rule = broken_rule(line)
        if rule:
            broken.append((number, rule))
    raw = data.removesuffix(b"\n").split(b"\n")
    if raw != sorted(raw):
        broken.append((0, "is not sorted by bytes"))
    stacks = [line.rpartition(" ")[0] for line in lines]
    if len(set(stacks)) != len(stacks):
        broken.append((0, "has a stack twice"))
    return broken


def main(paths):
    if not paths:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        if path == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
        for number, rule in check(data):
            failed = True
            print(f"{path}:{number}: {rule}" if number else f"{path}: {rule}")
        print(f"{path}: {data.count(10)} lines checked")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
