# SPDX-License-Identifier: Apache-2.0
"""The Go service that benchmarks record, and its load."""
import os
import re
import subprocess

import measure as m


def find_go():
    for root in ("/usr/lib/go-1.19", "/usr/lib/go"):
        if os.access(f"{root}/bin/go", os.X_OK):
            return f"{root}/bin/go"
    return m.find("go")


def start():
    """(process, address) of a fresh one, built when it is not; None without Go or wrk, which is said."""
    go = find_go()
    if not go or not m.find("wrk"):
        print(f"ABSENT: {'Go (golang-go)' if not go else 'wrk'}: the Go service is not measured", flush=True)
        return None
    program = m.BUILD / "bench/server"
    environment = dict(os.environ, GOTOOLCHAIN="local", GOFLAGS="-mod=mod", GOWORK="off", CGO_ENABLED="0",
                       GOCACHE=os.environ.get("GOCACHE", str(m.BUILD / "bench/go-cache")))
    subprocess.run([go, "build", "-ldflags", "-s -w", "-o", program, "."], cwd=m.HERE / "server", env=environment,
                   check=True)
    server = m.start([program], stdout=subprocess.PIPE)
    return server, server.stdout.readline().decode().strip()


def wrk(address, path, connections, seconds):
    """One run of the load. Returns (requests, requests a second)."""
    done = subprocess.run([m.find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", f"http://{address}{path}"],
                          capture_output=True, text=True, preexec_fn=m.favoured())
    requests = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not requests or not rate or int(requests[1]) == 0:
        raise RuntimeError(f"wrk: {done.stdout[-400:]}{done.stderr[-400:]}")
    return int(requests[1]), float(rate[1])
