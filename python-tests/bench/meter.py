"""Counting, timing and reporting, the same for every subject in Python."""

import asyncio
import json
import sys
import threading
import time
from array import array
from typing import Any, Awaitable, Callable, List, NamedTuple


class Load(NamedTuple):
    """What a caller is told to do."""

    #: ``NAME@ADDRESS,…``, or ``-`` where nobody serves.
    targets: str
    depth: int
    payload: int
    actors: int
    seconds: float
    #: Calls in this time are not counted: connections are made, caches and allocators warm up.
    warm_up: float
    servers: List[str]

    @classmethod
    def of(cls, words: List[str]) -> "Load":
        targets, depth, payload, actors, seconds, warm_up, pids = words
        servers = [pid for pid in pids.split(",") if pid != "-"]
        return cls(targets, int(depth), int(payload), int(actors), float(seconds), float(warm_up), servers)

    @property
    def address(self) -> str:
        return self.targets.rsplit("@", 1)[1]

    @property
    def content(self) -> bytes:
        return b"7" * self.payload

    @property
    def ids(self) -> List[str]:
        return [f"device-{1234 + number:07}" for number in range(self.actors)]


def cpu_seconds(pids: List[str]) -> float:
    """User and system seconds so far."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / 100


def peak_kib(pids: List[str]) -> int:
    """The most memory that they had."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            total += next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return total


class Meter:
    """Each recorded time stands for ``at_once`` messages.

    Times are kept as they are, eight bytes for each: to find a bucket for them would take longer than some calls.
    """

    def __init__(self, load: Load, at_once: int = 1) -> None:
        self.load, self.at_once = load, at_once
        self.times = array("d")
        self.pids = ["self", *load.servers]

    def begin(self) -> None:
        """Forgets the warm-up."""
        del self.times[:]
        self.cpu, self.began = cpu_seconds(self.pids), time.perf_counter()

    def report(self) -> None:
        took, cpu = time.perf_counter() - self.began, cpu_seconds(self.pids) - self.cpu
        peaks = peak_kib(["self"]), peak_kib(self.load.servers)
        times = sorted(self.times)
        count = len(times) * self.at_once

        def quantile(share: float) -> float:
            return round(times[int(len(times) * share)] * 1e6, 3)

        figures = {
            "msgs_per_s": round(count / took, 1),
            "p50_us": quantile(0.5),
            "p99_us": quantile(0.99),
            "p999_us": quantile(0.999),
            "cpu_s_per_100k": round(cpu / count * 100_000, 4),
            "caller_kib": peaks[0],
            "server_kib": peaks[1],
        }
        print(json.dumps(figures), flush=True)


async def measure(load: Load, call: "Callable[[], Awaitable[None]]", lanes: int, at_once: int = 1) -> None:
    """So many lanes, each of which makes one call after the other."""
    meter = Meter(load, at_once)
    clock, record = time.perf_counter, meter.times.append

    async def lane(end: float) -> None:
        began = clock()
        while began < end:
            await call()
            now = clock()
            record(now - began)
            began = now

    async def run(seconds: float) -> None:
        end = clock() + seconds
        await asyncio.gather(*(lane(end) for _ in range(lanes)))

    await run(load.warm_up)
    meter.begin()
    await run(load.seconds)
    meter.report()


def measure_threads(load: Load, call: "Callable[[], Any]") -> None:
    """The same with a thread for each lane."""
    meter = Meter(load)
    clock, record = time.perf_counter, meter.times.append

    def lane(end: float) -> None:
        began = clock()
        while began < end:
            call()
            now = clock()
            record(now - began)
            began = now

    def run(seconds: float) -> None:
        end = clock() + seconds
        threads = [threading.Thread(target=lane, args=(end,)) for _ in range(load.depth)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    run(load.warm_up)
    meter.begin()
    run(load.seconds)
    meter.report()


async def until_dismissed() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
