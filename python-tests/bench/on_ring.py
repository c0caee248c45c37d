"""Lookups in the hash ring beside hashlib's MD5 of the key alone."""

import hashlib
import time
from typing import Any, Callable, Dict

import quark
from meter import Load, Meter

KEYS = [f"Device:device-{number:07}" for number in range(10_000)]


def md5() -> None:
    for key in KEYS:
        hashlib.md5(key.encode()).digest()


def batch(keys: Any) -> "Callable[[], Any]":
    ring = quark.HashRing()
    for number in range(1000):
        ring.add(f"silo-{number}")
    return lambda: ring.owners(keys)


def column() -> Any:
    import pyarrow

    return pyarrow.array(KEYS)


async def call(what: str, load: Load) -> None:
    subjects: "Dict[str, Callable[[], Any]]" = {
        "md5": lambda: md5,
        "batch": lambda: batch(KEYS),
        "column": lambda: batch(column()),
    }
    work = subjects[what]()
    meter = Meter(load, at_once=len(KEYS))

    def run(seconds: float) -> None:
        end = time.perf_counter() + seconds
        began = time.perf_counter()
        while began < end:
            work()
            now = time.perf_counter()
            meter.times.append(now - began)
            began = now

    run(load.warm_up)
    meter.begin()
    run(load.seconds)
    meter.report()
