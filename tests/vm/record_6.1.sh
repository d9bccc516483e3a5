#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Stallscope's programs load and count in a Debian 6.1 guest: a program that sleeps 50 ms at a time is recorded for 3 s.
# usage: record_6.1.sh STALLSCOPE SLEEPER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -n "${STALLSCOPE_VM:-}" ] || { echo "SKIP: needs a virtual machine: tools/test --vm"; exit 77; }
stallscope=$1 sleeper=$2
"$here/fetch"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$here/copy_program" "$stallscope" "$work/root"
"$here/copy_program" "$sleeper" "$work/root"
cat >"$work/root/record" <<'GUEST'
/bin/vm_sleeper >/out/truth &
pid=$!
/bin/stallscope record -p $pid -e offcpu -d 3s -o /out/x.folded -o /out/x.json >/out/stdout 2>/out/stderr
status=$?
cat /out/stderr
kill $pid
wait $pid
exit $status
GUEST
"$here/run" -t 240 -r "$work/root" -o "$work/out" 'sh /record'
cat "$work/out/x.folded" "$work/out/truth"

# How many waits ended inside the recording, and how long they took: from the recording, against the program's own mean.
python3 - "$work/out" <<'CHECK'
import json, sys
directory = sys.argv[1]
naps, slept_ns = map(int, open(directory + "/truth").read().split())
event = json.load(open(directory + "/x.json"))["events"]["offcpu"]
columns = [column["name"] for column in event["columns"]]
time_column, count_column = columns.index("time"), columns.index("count")
time_ns = count = 0
for sample in event["samples"]:
    if any(frame["name"] == "nap" for frame in sample["frames"]):
        time_ns += sample["values"][time_column]
        count += sample["values"][count_column]
        assert sample["reason"].strip("[]") == "sleep", sample["reason"]
        names = [frame["name"] for frame in sample["frames"]]
        assert names.index("nap_until_told") < names.index("nap"), names
print(f"recorded {count} waits, {time_ns / 1e9:.3f} s; the program: {naps} naps of {slept_ns / naps / 1e6:.2f} ms")
# 3 s hold 60 naps of 50 ms at most; emulation makes them longer, and less than a third of the clock goes elsewhere.
assert 20 <= count <= 62, count
assert 2.0e9 <= time_ns <= 3.1e9, time_ns
# One wait as the kernel saw it is never longer than the program saw it, and nearly as long.
assert 0.8 <= (time_ns / count) / (slept_ns / naps) <= 1.1, (time_ns / count, slept_ns / naps)
CHECK
