"""The Python program of a run: a silo or a client that writes a ledger and makes calls.

Its arguments, what it says and what it is told are described in `src/program.rs`, the lines in `src/ledger.rs`.
"""

import asyncio
import logging
import os
import random
import sys
import time
from typing import Any, Dict, Set

import quark

ACTORS = 60
BURST = 4


def now() -> int:
    return time.monotonic_ns() // 1_000_000


class Record:
    """A ledger; a line is one write(2), so that a SIGKILL loses none."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, line: str) -> None:
        os.write(self._file, (line + "\n").encode())


class Load:
    """Bursts of calls to one actor after another, at a fixed rate, without waiting for their ends."""

    def __init__(self, node: Any, record: Record, who: str) -> None:
        self._node, self._record, self._who = node, record, who
        self._calls: Set["asyncio.Task[None]"] = set()
        self._numbers: Dict[int, int] = {}
        self._stopped = False
        self._succeeded = self._failed = 0

    def stop(self) -> None:
        self._stopped = True

    async def call_until_stopped(self, rate: float) -> None:
        while not self._stopped:
            actor = random.randrange(ACTORS)
            for _ in range(BURST):
                number = self._numbers[actor] = self._numbers.get(actor, 0) + 1
                # Tasks begin in the order in which they are made, and a call is sent when its task begins.
                self._spawn(self._make(f"a{actor}", f"{self._who}:a{actor}:{number}"))
            await asyncio.sleep(BURST / rate)

    async def all_ended(self) -> None:
        while self._calls:
            await asyncio.wait(self._calls)

    def summary(self) -> str:
        return f"{self._succeeded} {self._failed}"

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _make(self, actor: str, call: str) -> None:
        kind = random.randrange(100)
        size = random.randrange(1 << 16, 1 << 20) if 22 <= kind < 24 else 64
        payload = f"{call} ".encode().ljust(size, b".")
        method = "fail" if 15 <= kind < 17 else "slow" if 17 <= kind < 22 else "echo"
        one_way, cancelled = kind < 10, 10 <= kind < 15
        timeout_ms = random.randint(1000, 5000)
        way = "notify" if one_way else "call"
        node = self._node
        self._record.write(f"begin {call} {way} {timeout_ms} {len(payload)} {now()} {node.view_version}")
        outcome, delivered, reply = "ok", "-", "-"
        try:
            send = node.notify if one_way else node.call
            sent = send("Ledger", actor, method, payload, timeout=timeout_ms / 1000)
            if cancelled:
                self._cancel_midway()
            answer = await sent
            if answer is not None:
                reply = answer.decode()
        except quark.QuarkError as error:
            outcome, delivered = error.name, error.delivered
        except asyncio.CancelledError:
            outcome, delivered = "CANCELLED", "unknown"
        self._record.write(f"end {call} {outcome} {delivered} {now()} {node.view_version} {reply}")
        if outcome == "ok":
            self._succeeded += 1
        else:
            self._failed += 1

    @staticmethod
    def _cancel_midway() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(random.uniform(0, 0.05), task.cancel)


async def main(role: str, silo_id: str, life: str, url: str, cluster: str, host: str, ledger: str, rate: str) -> None:
    record = Record(ledger)

    async def handle(request: quark.Request) -> bytes:
        payload = request.payload
        call = payload[: payload.index(b" ")].decode()
        record.write(f"ran {call} {request.actor_id} {silo_id} {life} {now()} {request.view_version}")
        if request.method_name == "fail":
            raise ValueError("as it was told to")
        if request.method_name == "slow":
            await asyncio.sleep(0.2)
        return f"{call}/{len(payload)}".encode()

    # What `src/security.rs` tells.
    security: Dict[str, Any] = {}
    if transport := os.environ.get("CHAOS_TRANSPORT"):
        names = ("CHAOS_AUTHORITY", "CHAOS_CERTIFICATE", "CHAOS_KEY")
        security = {"transport": transport, "tls": quark.Tls(*(os.environ[name] for name in names))}
    node: Any
    if role == "silo":
        options = {"listen": f"{host}:0", "allow_plaintext": True, "handlers": {"Ledger": handle}, **security}
        node = quark.Silo(silo_id, membership=url, cluster=cluster, **options)
    else:
        node = quark.Client(membership=url, cluster=cluster, allow_plaintext=True, **security)
    await node.start()
    print("ready", node.endpoint if role == "silo" else "-", flush=True)

    load = Load(node, record, f"{silo_id}:{life}")
    calling = asyncio.ensure_future(load.call_until_stopped(float(rate)))
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if line == "quiet\n":
            load.stop()
            await calling
            await load.all_ended()
            print("quiet", load.summary(), flush=True)
    await node.stop(5.0)
    load.stop()
    await calling
    await asyncio.wait_for(load.all_ended(), 2.0)


class MonotonicFormatter(logging.Formatter):
    """Log lines whose times can be compared with those of the ledgers."""

    def formatTime(self, record: logging.LogRecord, datefmt: Any = None) -> str:
        return str(now())


handler = logging.StreamHandler()
handler.setFormatter(MonotonicFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
logging.getLogger("quark").addHandler(handler)
logging.getLogger("quark").setLevel(logging.DEBUG)
asyncio.run(main(*sys.argv[1:]))
