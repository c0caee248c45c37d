"""Counters that move: silos in Python and C++ that join, leave and are killed, under load, and what becomes of the counters.

``show.py REDIS_URL [--cpp PROGRAM] [--faults N] [--silos N] [--counters N] [--callers N] [--seed N]`` needs a Redis and, for silos in
C++, what ``counters.cpp`` is compiled to. After each fault it waits until every counter has been incremented again, and shows who
owns how many of them; at the end it holds each counter against the increments that were answered. Fails when one of them
is lost, or when a counter has one that nobody made.
"""

import argparse
import asyncio
import collections
import json
import random
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Dict, List, Optional

import quark

HERE = Path(__file__).parent
#: How long a silo may take to start or to leave, and all counters to answer after a fault, in seconds.
PATIENCE = 60.0


class Process:
    """A silo as a process of its own."""

    def __init__(self, silo_id: str, command: List[str]) -> None:
        self.silo_id, self.command = silo_id, [*command, silo_id]
        self.gave = self.took = 0
        self.ready: "asyncio.Future[str]" = asyncio.get_running_loop().create_future()

    async def start(self, url: str, cluster: str) -> None:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(*self.command, url, cluster, stdin=pipe, stdout=pipe)
        self.reading = asyncio.create_task(self.read())
        await asyncio.wait_for(self.ready, PATIENCE)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if "ready" in said:
                self.ready.set_result(said["ready"])
            else:
                self.gave += said["gave"]
                self.took += said["took"]
        if not self.ready.done():
            self.ready.set_exception(RuntimeError(f"{self.silo_id} did not start"))

    async def leave(self) -> None:
        """Closes its standard input, whereupon it hands over and goes."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = await asyncio.wait_for(self.process.wait(), PATIENCE)
        await self.reading
        if code != 0:
            raise RuntimeError(f"{self.silo_id} left with exit code {code}")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.reading


class Ledger:
    """What the callers were told of each counter."""

    def __init__(self, counters: List[str]) -> None:
        self.answered = dict.fromkeys(counters, 0)
        #: Ended with an error that does not say that the handler never had them.
        self.in_doubt = dict.fromkeys(counters, 0)
        self.not_delivered = 0
        self.codes: "collections.Counter[str]" = collections.Counter()
        #: Replies that were not above all that had been said of their counter before.
        self.backwards = 0
        self.latest = dict.fromkeys(counters, 0)

    async def increment(self, client: quark.Client, counter: str) -> None:
        before = self.latest[counter]
        try:
            value = int(await client.call("Counter", counter, "add", b"1", timeout=10.0))
        except quark.QuarkError as error:
            if error.delivered == "no":
                self.not_delivered += 1
            else:
                self.in_doubt[counter] += 1
                self.codes[error.code] += 1
            await asyncio.sleep(0.01)  # Nobody hammers what has just failed.
            return
        except asyncio.CancelledError:  # The show is over, and this one may have arrived.
            self.in_doubt[counter] += 1
            self.codes["CANCELLED"] += 1
            raise
        self.answered[counter] += 1
        self.backwards += value <= before
        self.latest[counter] = max(self.latest[counter], value)


class Show:
    """The cluster, its load, and what is done to it."""

    def __init__(self, options: argparse.Namespace, cluster: str, client: quark.Client) -> None:
        self.options, self.cluster, self.client = options, cluster, client
        #: For the faults alone, so that a seed stands for the same faults however quick the callers are.
        self.random = random.Random(options.seed)
        self.counters = [f"counter-{number}" for number in range(options.counters)]
        self.ledger = Ledger(self.counters)
        self.silos: Dict[str, Process] = {}
        self.started, self.made, self.moved = time.monotonic(), 0, 0
        self.gave = self.took = 0

    async def join(self) -> str:
        language = ["py", "cpp"][self.made % 2] if self.options.cpp else "py"
        self.made += 1
        program = [self.options.cpp] if language == "cpp" else [sys.executable, str(HERE / "counters.py")]
        silo = Process(f"{language}-{self.made}", program)
        await silo.start(self.options.url, self.cluster)
        self.silos[silo.silo_id] = silo
        return silo.silo_id

    async def fault(self) -> str:
        """One silo joins, leaves or is killed."""
        kinds = ["leave", "kill"] if len(self.silos) > 2 else []
        kinds += ["join"] * (2 if len(self.silos) < self.options.silos + 2 else 0)
        kind = self.random.choice(kinds)
        if kind == "join":
            return f"join {await self.join()}"
        silo = self.silos.pop(self.random.choice(sorted(self.silos)))
        await (silo.leave() if kind == "leave" else silo.kill())
        self.gave, self.took = self.gave + silo.gave, self.took + silo.took
        return f"{kind} {silo.silo_id}"

    async def all_answer(self) -> None:
        """Waits until each counter has been incremented once more."""
        before = dict(self.ledger.answered)
        end = time.monotonic() + PATIENCE
        while not all(self.ledger.answered[counter] > before[counter] for counter in self.counters):
            if time.monotonic() > end:
                silent = [c for c in self.counters if self.ledger.answered[c] == before[c]]
                raise RuntimeError(f"after {PATIENCE} s {len(silent)} counters do not answer, {silent[0]} for one")
            await asyncio.sleep(0.02)

    def owners(self) -> Dict[str, Optional[str]]:
        return {counter: self.client.owner("Counter", counter) for counter in self.counters}

    async def load(self) -> None:
        """One caller. Each goes through all counters, in an order of its own."""
        while True:
            for counter in random.sample(self.counters, len(self.counters)):
                await self.ledger.increment(self.client, counter)

    def print(self, what: str, owners: Dict[str, Optional[str]]) -> None:
        held = {silo_id: sum(owner == silo_id for owner in owners.values()) for silo_id in sorted(self.silos)}
        bars = "  ".join(f"{silo_id} {'▇' * round(20 * n / len(owners)):<1} {n}" for silo_id, n in held.items())
        print(f"{time.monotonic() - self.started:6.1f} s  {what:<14} {sum(self.ledger.answered.values()):>8} answered  {bars}", flush=True)

    async def run(self) -> bool:
        for _ in range(self.options.silos):
            await self.join()
        callers = [asyncio.create_task(self.load()) for _ in range(self.options.callers)]
        await self.all_answer()
        owners = self.owners()
        self.print("begin", owners)
        for _ in range(self.options.faults):
            what = await self.fault()
            await self.all_answer()
            now = self.owners()
            self.moved += sum(now[counter] != owners[counter] for counter in self.counters)
            owners = now
            self.print(what, owners)
            for caller in callers:
                if caller.done():
                    caller.result()
        for caller in callers:
            caller.cancel()
        ended = await asyncio.gather(*callers, return_exceptions=True)
        for problem in ended:
            if not isinstance(problem, asyncio.CancelledError):
                raise RuntimeError("a caller ended") from (problem if isinstance(problem, BaseException) else None)
        return await self.judge()

    async def judge(self) -> bool:
        ledger = self.ledger
        lost = extra = doubted = 0
        for counter in self.counters:
            value = int(await self.client.call("Counter", counter, "read"))
            lost += max(0, ledger.answered[counter] - value)
            doubted += max(0, value - ledger.answered[counter])
            extra += max(0, value - ledger.answered[counter] - ledger.in_doubt[counter])
        for silo in list(self.silos.values()):
            await silo.leave()
            self.gave, self.took = self.gave + silo.gave, self.took + silo.took
        in_doubt = sum(ledger.in_doubt.values())
        print(
            f"\n{self.options.faults} faults; {self.moved} times a counter found another owner; silos handed over {self.gave} and took over {self.took}\n"
            f"increments answered: {sum(ledger.answered.values())}; not delivered: {ledger.not_delivered}; in doubt: {in_doubt} {dict(ledger.codes) or ''}\n"
            f"answered and lost: {lost}; counted though nobody made them: {extra}; replies that went backwards: {ledger.backwards}\n"
            f"in doubt and counted: {doubted}"
        )
        return lost == extra == ledger.backwards == 0


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", metavar="REDIS_URL")
    parser.add_argument("--cpp", metavar="PROGRAM")
    for name, default in (("faults", 12), ("silos", 4), ("counters", 200), ("callers", 8), ("seed", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N")
    options = parser.parse_args()
    cluster = f"counters-{uuid.uuid4().hex[:8]}"
    async with quark.Client(membership=options.url, cluster=cluster) as client:
        show: Any = Show(options, cluster, client)
        try:
            return 0 if await show.run() else 1
        finally:
            for silo in show.silos.values():
                if silo.process.returncode is None:
                    await silo.kill()


sys.exit(asyncio.run(main()))
