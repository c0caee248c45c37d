"""``quark call``"""

import argparse
import os
import sys
import time
from typing import List, Optional

from ..blocking import Client
from .options import Options, add_cluster, count, seconds

HELP = "call an actor and print its reply"
DESCRIPTION = """\
Calls an actor, wherever it lives, and prints the bytes of its reply. A terminal gets a line break after them where
they end without one; a pipe or a file gets the bytes and nothing else."""


def add_options(sub: argparse.ArgumentParser) -> None:
    """What to call, and how often."""
    sub.add_argument("actor_type", metavar="TYPE", help="the actor's type, as in Counter")
    sub.add_argument("actor_id", metavar="ID", help="the actor's id, as in 42")
    sub.add_argument("method", metavar="METHOD", help="what it is asked to do")
    sub.add_argument(
        "payload",
        metavar="PAYLOAD",
        nargs="?",
        help="text, @FILE for what is in a file, or - for standard input (default: nothing)",
    )
    add_cluster(sub)
    sub.add_argument("--timeout", metavar="S", type=seconds, help="of a call, in seconds (default: 30)")
    sub.add_argument(
        "--repeat",
        metavar="N",
        type=count,
        help="make N calls, one after the other, print the last reply, and on stderr the median and the 99th"
        " percentile of the round trips",
    )


def run(options: Options) -> int:
    """Calls and prints."""
    url, payload = options.url(), _payload(options.payload)
    client = Client(membership=url, cluster=options.cluster, start_timeout=options.start_timeout, tls=options.tls())
    trips: List[float] = []
    reply = b""
    try:
        client.start()
        for _ in range(options.repeat or 1):
            began = time.perf_counter()
            reply = client.call(
                options.actor_type, options.actor_id, options.method, payload, timeout=options.timeout
            )
            trips.append(time.perf_counter() - began)
    finally:
        client.stop(0.0)  # Nothing is on its way that anybody waits for.
    _print(reply)
    if options.repeat:
        print(round_trips(trips), file=sys.stderr)
    return 0


def _payload(given: Optional[str]) -> bytes:
    if given is None:
        return b""
    if given == "-":
        return sys.stdin.buffer.read()
    if given.startswith("@"):
        with open(given[1:], "rb") as file:
            return file.read()
    return os.fsencode(given)


def _print(reply: bytes) -> None:
    sys.stdout.buffer.write(reply)
    if sys.stdout.isatty() and not reply.endswith(b"\n"):
        sys.stdout.buffer.write(b"\n")
    sys.stdout.buffer.flush()


def round_trips(trips: List[float]) -> str:
    """What one can say about round trips that took so many seconds."""
    ordered = sorted(trips)
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    p99 = ordered[-(-99 * len(ordered) // 100) - 1]
    calls = "1 call" if len(ordered) == 1 else f"{len(ordered)} calls"
    return f"{calls}: median {median * 1e6:.0f} us, p99 {p99 * 1e6:.0f} us"
