#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`--created-by`: a goroutine has its creator's stack above it when, and only when, its creator still stands where it
started it; else the go statement alone. The target knows: creators that wait in the function with the go statement, or
in one that called it, and creators that ended, went elsewhere, or came back to start others. Before Go 1.21 the runtime
does not know who it was: the go statement alone."""
import time

import goroutines as g
import harness as h

STILL, ALONE = "[created by, still there]", "[created by]"
SECONDS = 5
# What stands above the marker, at least, root first: by the first function below it.
STANDING = {
    "main.childOfStanding": ["main.standing"],
    "main.childOfDeep": ["main.deep", "main.startForDeep"],
    "main.childOfDeeper": ["main.deeper", "main.startForDeeper"],
    "main.laterChild": ["main.wanderer", "main.wander", "main.start"],
}
GONE = {
    "main.childOfEnded": ["main.ended"],
    "main.childOfMoved": ["main.startForMoved"],
    "main.childOfPointer": ["main.startForPointer"],
    "main.childOfEarly": ["main.early"],
    "main.firstChild": ["main.start"],
}
FIRST_WITH_PARENTS = 21


def record(program):
    out = h.scratch() / "x.json"
    recorder = h.Recorder("-p", program.pid, "-e", "goroutine", "--created-by", "--idle", "--budget", "30%", "-d", SECONDS,
                          "-o", out).wait_began()
    time.sleep(1)  # snapshots have seen it elsewhere
    program.tell()
    recorder.expect()
    return h.Result(out, "goroutine").samples


def origin(sample):
    """(marker, frames above it, frames below it), of a stack that has one."""
    for marker in (STILL, ALONE):
        if marker in sample.names:
            at = sample.names.index(marker)
            return marker, [n for n in sample.names[:at] if n not in ("[never ran]", "runtime.goexit")], sample.names[at + 1:]
    return None, [], sample.names


def below(samples, function):
    found = [origin(sample) for sample in samples if function in sample.names]
    h.check(found, f"no sample through {function}")
    return [(marker, above) for marker, above, names in found if function in names]


def is_within(wanted, names):
    """Whether `wanted` comes in `names`, in this order."""
    rest = iter(names)
    return all(name in rest for name in wanted)


def check(samples, version):
    known = int(version.split(".")[1]) >= FIRST_WITH_PARENTS
    for function, wanted in STANDING.items():
        for marker, above in below(samples, function):
            if not known:
                h.check((marker, above) == (ALONE, wanted[-1:]), f"{function}: {marker} below {above}")
                continue
            h.check(marker == STILL and is_within(wanted, above), f"{function}: {marker} below {above}, not {wanted}")
    for function, wanted in GONE.items():
        for marker, above in below(samples, function):
            h.check((marker, above) == (ALONE, wanted), f"{function}: {marker} below {above}, not {wanted}")
    dials = [found for found in map(origin, samples) if "net/http.(*Transport).dialConn" in found[2]]
    h.check(dials, "nobody dials")
    for marker, above, _ in dials:
        if known:
            h.check(marker == STILL and is_within(["main.fetch", "net/http.(*Transport).getConn"], above),
                    f"the dial of a client that waits for it: {marker} below {above}")
        else:
            h.check(marker == ALONE, f"the dial: {marker}")
    claimed = [origin(sample) for sample in samples if STILL in sample.names]
    print(f"  Go {version}: {len(samples)} samples, {len(claimed)} with a creator that still stands there", flush=True)
    h.check(known or not claimed, f"creators before Go 1.{FIRST_WITH_PARENTS}: {claimed}")


def creators():
    g.need_option("record", "--created-by")
    for version, root in g.toolchains():
        for kind in ("static", "PIE strip"):
            program = h.Program(g.build("creators", version, root, kind)).ready()
            samples = record(program)
            program.stop()
            check(samples, version)


if __name__ == "__main__":
    h.main(creators)
