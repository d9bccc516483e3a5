#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# What a stranger meets: the two commands on a fresh Debian. A minimal root of each release is made by debootstrap,
# a clone of this repository is copied in, and tools/quickstart and tools/test run there twice each, with their times.
# The kernel is this machine's. By hand, as root; it takes the better part of an hour and needs the network.
#
#   tests/system/fresh_root.sh [--only install|quickstart|test] [bookworm] [trixie]
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
cache=${STALLSCOPE_CACHE:-/var/cache/stallscope}/roots
only=
releases=()
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2; shift ;;
    *) releases+=("$1") ;;
  esac
  shift
done
[ ${#releases[@]} = 0 ] && releases=(bookworm trixie)

[ "$(id -u)" = 0 ] || { echo "fresh_root.sh: needs root (debootstrap, chroot)" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "fresh_root.sh: apt-get install debootstrap" >&2; exit 1; }
mkdir -p "$cache"

# In a mount namespace of its own: whatever happens, no mount of ours outlives this script.
if [ -z "${STALLSCOPE_FRESH_ROOT_NAMESPACE:-}" ]; then
  export STALLSCOPE_FRESH_ROOT_NAMESPACE=1
  exec unshare --mount --propagation private "$0" ${only:+--only "$only"} "${releases[@]}"
fi

root=

make_root() { # RELEASE
  local base=$cache/$1.base
  root=$cache/$1
  if [ ! -x "$base/bin/sh" ]; then
    echo "== $1: debootstrap"
    debootstrap --variant=minbase "$1" "$base" "$("$repository/tools/debian-mirror")" >"$cache/$1.debootstrap.log" 2>&1
  fi
  # Refuses to delete through a mount, should there be one.
  rm -rf --one-file-system "$root"
  cp -a "$base" "$root"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  cp -L /etc/hosts "$root/etc/hosts"
  # A proxy or a mirror's clock rules of this machine hold inside as well.
  find /etc/apt/apt.conf.d -type f \( -name '*prox*' -o -name '99*' \) -exec cp {} "$root/etc/apt/apt.conf.d/" \;
  # Services must not start in a chroot.
  printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
  chmod +x "$root/usr/sbin/policy-rc.d"
  mount --bind "$root" "$root"  # a root directory that is a mount, as on a machine
  mount --bind /proc "$root/proc"
  mount --bind /sys "$root/sys"
  mount --bind /sys/kernel/tracing "$root/sys/kernel/tracing" 2>/dev/null || true
  mount --bind /dev "$root/dev"
  mount -t tmpfs tmpfs "$root/dev/shm"
  git clone -q --no-hardlinks "$repository" "$root/root/stallscope"
}

failures=0
run_inside() { # LABEL COMMAND...
  local label=$1 started=$SECONDS rc=0
  shift
  local log=$cache/$release-${label// /-}.log
  chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    sh -c "cd /root/stallscope && $*" >"$log" 2>&1 </dev/null || rc=$?
  printf '%-10s %-22s exit %d  %5d s   %s\n' "$release" "$label" "$rc" "$((SECONDS - started))" "$(tail -1 "$log")"
  [ "$rc" = 0 ] || failures=$((failures + 1))
}

for release in "${releases[@]}"; do
  make_root "$release"
  case $only in
    install) run_inside "install-deps 1" tools/install-deps --test
             run_inside "install-deps 2" tools/install-deps --test ;;
    quickstart) run_inside "quickstart 1" tools/quickstart
                run_inside "quickstart 2" tools/quickstart ;;
    test) run_inside "test 1" tools/test
          run_inside "test 2" tools/test ;;
    "") run_inside "quickstart 1" tools/quickstart
        run_inside "quickstart 2" tools/quickstart
        run_inside "test 1" tools/test
        run_inside "test 2" tools/test ;;
  esac
done
echo "logs: $cache/*.log; $failures failed"
[ "$failures" = 0 ]
