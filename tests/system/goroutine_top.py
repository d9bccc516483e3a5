#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`stallscope top` on a program that grows: the tables say how many goroutines wait, and how many more than before."""
import re
import subprocess
import time

import goroutines as g
import harness as h

ROW = re.compile(r"^ *([0-9.]+) +([+-][0-9.]+)? +([0-9.]+)%  \[([^\]]+)\] *(.*)$")


def tables(text):
    """[[(goroutines, change, share, reason, site), ...], ...]"""
    return [[(float(m[1]), float(m[2] or 0), float(m[3]), m[4], m[5]) for m in map(ROW.match, table.splitlines()) if m]
            for table in text.strip().split("\n\n")]


def grows():
    version, root = g.newest_toolchain()
    target = h.Program(h.build_go("many", version, root)).ready()

    def tell(command):
        target.tell(command)
        h.check(target.line(60) == "done", command)
    tell("grow 1000")
    top = subprocess.Popen([h.STALLSCOPE, "top", "-p", str(target.pid), "-i", "500ms", "-d", "4s", "--budget", "10%"],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    tell("grow 3000")
    text, errors = top.communicate(timeout=60)
    target.stop()
    h.check(top.returncode == 0, f"exit {top.returncode}: {errors}")
    found = tables(text)
    sums = [sum(row[0] for row in table) for table in found]
    changes = [sum(row[1] for row in table) for table in found]
    print(f"  goroutines {[round(s) for s in sums]}, changes {[round(c) for c in changes]}", flush=True)
    h.check(len(found) >= 6, text)
    h.check(abs(sums[0] - 1000) <= 20 and abs(sums[-1] - 3000) <= 60, text)
    h.check(abs(sum(changes) - 2000) <= 80, "the growth is not told")
    h.check(all(abs(sum(row[2] for row in table) - 100) <= 1 for table in found if table), "shares do not make up all")


def ends_and_is_no_go():
    target = h.Program(h.testprog("waiter"), 30).ready()
    refused = subprocess.run([h.STALLSCOPE, "top", "-p", str(target.pid)], capture_output=True, text=True, timeout=60)
    h.check(refused.returncode == 4 and "is not a Go program" in refused.stderr, refused.stderr)
    version, root = g.newest_toolchain()
    target = h.Program(h.build_go("many", version, root)).ready()
    top = subprocess.Popen([h.STALLSCOPE, "top", "-p", str(target.pid)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           text=True)
    time.sleep(1.5)
    target.stop()
    text, errors = top.communicate(timeout=30)
    h.check(top.returncode == 0 and "it ended" in errors, f"exit {top.returncode}: {errors}")


def leak_is_named():
    """`diff` of two dumps names the stack that grew, and by how many."""
    version, root = g.newest_toolchain()
    target = h.Program(h.build_go("many", version, root)).ready()
    folder = h.scratch()
    for count, name in ((1000, "before.raw"), (3000, "after.raw")):
        target.tell(f"grow {count}")
        h.check(target.line(60) == "done", "grow")
        subprocess.run([h.STALLSCOPE, "dump", "-p", str(target.pid), "-o", str(folder / name)], check=True, timeout=60)
    told = subprocess.run([h.STALLSCOPE, "diff", str(folder / "before.raw"), str(folder / "after.raw")],
                          capture_output=True, text=True, timeout=60)
    print("  " + told.stdout.replace("\n", "\n  "), flush=True)
    h.check(told.returncode == 0, told.stderr)
    h.check("main.receive" in told.stdout and "created by" in told.stdout, "the stack that grew, or who made it")
    grown = sum(int(n.replace(",", "")) for n in re.findall(r"\+([0-9,]+)", told.stdout))
    h.check(grown >= 1900, f"{grown} of 2,000 more are told")
    target.stop()


if __name__ == "__main__":
    h.main(grows, ends_and_is_no_go, leak_is_named)
