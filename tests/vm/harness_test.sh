#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The guest harness itself: exit status, output, files, and that a panic and a time-out are told apart.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -n "${STALLSCOPE_VM:-}" ] || { echo "SKIP: needs a virtual machine: tools/test --vm"; exit 77; }
"$here/fetch"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() { # WHAT EXPECTED ACTUAL
  [ "$2" = "$3" ] && return
  echo "FAIL: $1: expected '$2', got '$3'"
  exit 1
}

code=0
text=$("$here/run" -t 120 -o "$work/out" 'uname -r; echo kept >/out/file; exit 7') || code=$?
expect "exit status" 7 "$code"
expect "file of the guest" kept "$(cat "$work/out/file")"
[[ $text == 6.1.* ]] || { echo "FAIL: not a 6.1 kernel: $text"; exit 1; }

code=0
"$here/run" -t 120 'echo c >/proc/sysrq-trigger; sleep 60' >"$work/panic" 2>&1 || code=$?
expect "a panic" 125 "$code"
grep -q 'Kernel panic' "$work/panic" || { echo "FAIL: the panic's words are missing"; exit 1; }

code=0
"$here/run" -t 15 'sleep 600' >/dev/null 2>&1 || code=$?
expect "a time-out" 124 "$code"
echo "kernel $text: status, files, panic and time-out as they should be"
