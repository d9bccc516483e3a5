# SPDX-License-Identifier: Apache-2.0
#
# What tools/quickstart, tools/test and tools/install-deps share: saying what happens, and how far it is.
# Sourced, not run. The caller sets `step_total` before the first `step`.

step_number=0
step_total=${step_total:-0}

# On a terminal the line of progress is redrawn; elsewhere (CI, a file) it is one line a step.
if [ -t 1 ]; then on_terminal=1; else on_terminal=; fi

say() { printf '%s\n' "$*"; }

# step TEXT...: announces the next step, "[3/5] building".
step() {
  step_number=$((step_number + 1))
  step_label="[$step_number/$step_total] $*"
  say "$step_label"
}

# fail WHAT REMEDY [EXIT CODE]: two lines, what is wrong and what to do; ends the program.
fail() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  printf '  %s\n' "$2" >&2
  exit "${3:-1}"
}

# require_root ARGS...: goes on as root, by sudo when this is not root. BPF programs need it.
require_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || fail "this needs root (packages, BPF programs) and there is no sudo" "run it as root"
  say "going on as root by sudo (packages, BPF programs)"
  exec sudo --preserve-env=CI,STALLSCOPE_CACHE,STALLSCOPE_ALL_GO,STALLSCOPE_VM "$0" "$@"
}

# What root built in a user's clone goes back to that user, else their next build fails for want of rights.
return_to_invoking_user() {
  if [ -n "${SUDO_UID:-}" ] && [ "$SUDO_UID" != 0 ]; then
    chown -R -h -P --from=0 "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$@" 2>/dev/null
  fi
  return 0
}

# with_progress LOG COMMAND...: the command's output goes to LOG; ninja's "n/m" becomes the line of progress.
# On failure the end of LOG is shown. Returns the command's exit code.
with_progress() {
  local log=$1 line rc started=$SECONDS
  shift
  mkdir -p "$(dirname "$log")"
  NINJA_STATUS='@%f/%t@ ' "$@" 2>&1 | tee "$log" | while IFS= read -r line; do
    if [ -n "$on_terminal" ] && [[ $line =~ ^@([0-9]+/[0-9]+)@ ]]; then
      printf '\r%s ... %s\033[K' "$step_label" "${BASH_REMATCH[1]}"
    fi
  done
  rc=${PIPESTATUS[0]}
  [ -n "$on_terminal" ] && printf '\r\033[K'
  if [ "$rc" = 0 ]; then
    say "      done in $((SECONDS - started)) s"
  else
    sed 's/^@\([0-9/]*\)@/[\1]/' "$log" | grep -E -A8 'FAILED|rror' | head -60 >&2
    printf '      the whole output is in %s\n' "$log" >&2
  fi
  return "$rc"
}

# find_go: prints the path of a Go of 1.19 or later, the first on PATH, else where Debian and go.dev put it.
find_go() {
  local go
  for go in "$(command -v go)" /usr/local/go/bin/go $(ls -d /usr/lib/go-*/bin/go 2>/dev/null | sort -Vr) /snap/bin/go; do
    if [ -n "$go" ] && [ -x "$go" ] && go_is_new_enough "$go"; then
      printf '%s\n' "$go"
      return 0
    fi
  done
  return 1
}

go_is_new_enough() {
  local version
  version=$(GOTOOLCHAIN=local HOME=${HOME:-/root} "$1" version 2>/dev/null) || return 1
  [[ $version =~ go1\.([0-9]+) ]] && [ "${BASH_REMATCH[1]}" -ge 19 ]
}

# build_demo GO OUTPUT: the demo service, stripped and without cgo. Its cache stays inside build/, whoever's HOME this is.
build_demo() {
  local root
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  mkdir -p "$(dirname "$2")"
  (cd "$root/tools/demo" &&
    GOTOOLCHAIN=local GOFLAGS= GOWORK=off CGO_ENABLED=0 GOCACHE="$root/build/go-cache" \
      "$1" build -trimpath -buildvcs=false -ldflags='-s -w' -o "$2" .)
}
