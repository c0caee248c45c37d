"""Interpreters that end while Quark is at work: the exit takes no longer than without it, its code is the program's,
and nothing is said. Each is a process of its own with a limit, and ends many times, because what goes wrong there does so
now and then. The rows are those of docs/FAILURES.md."""

import sys

import pytest

from support import run_child

TIMES = 20
#: Of a program; an exit takes 5 s at most, and the rest is for a loaded machine.
LIMIT = 15.0

COMMON = """
import asyncio, os, signal, sys, threading, time, quark
from quark import blocking
url = "memory://exit"

def until(holds):
    while not holds():
        time.sleep(0.001)

async def soon(holds):
    while not holds():
        await asyncio.sleep(0.001)
"""


def ends(code: str, returncode: int = 0, times: int = TIMES) -> None:
    for _ in range(times):
        # A silo that was not stopped may say so, and these were not stopped on purpose.
        ended = run_child(COMMON + code, LIMIT, flags=["-W", "ignore::ResourceWarning"])
        well = (ended.returncode, ended.stdout, ended.stderr) == (returncode, "", "")
        assert well, f"{ended.returncode}\n{ended.stdout[:2000]}\n{ended.stderr[:2000]}"


@pytest.mark.parametrize("kind", ["silo", "client"])
def test_row_26_daemon_threads_blocked_in_calls(kind: str):
    ends(
        f"""
entered = []

def never(request):
    entered.append(request)
    time.sleep(60)

def call(i):
    {kind}.call("T", str(i), "", timeout=50)

silo, client = blocking.Silo("a", membership=url, handler=never), blocking.Client(membership=url)
silo.start()
client.start()
threads = [threading.Thread(target=call, args=[i], daemon=True) for i in range(200)]
for thread in threads:
    thread.start()
until(lambda: len(entered) == 4)
sys.exit(7)
""",
        7,
    )


# So it does beside busy threads of its own, without Quark.
@pytest.mark.skipif(sys.version_info[:2] == (3, 10), reason="CPython 3.10 crashes when it ends beside busy threads")
@pytest.mark.parametrize(
    "work", ["time.sleep(60)", "while True: pass", "while True: silo.view_version", "while True: time.sleep(0)"]
)
def test_row_26_a_plain_handler_at_work(work: str):
    ends(
        f"""
entered = []

def busy(request):
    entered.append(request)
    {work}

silo = blocking.Silo("a", membership=url, handler=busy)
silo.start()
for i in range(40):
    silo.notify("T", str(i), "")
until(lambda: len(entered) == 4)
sys.exit(7)
""",
        7,
        times=5,  # Four threads that want the GIL make each of them slow.
    )


def test_row_26_plain_handlers_that_come_and_go():
    """The interpreter ends between, before and after any of their steps."""
    ends(
        """
calls = []

def handler(request):
    return request.payload

def call(node, i):
    while True:
        node.call("T", str(i), "", b"x")
        calls.append(i)

silo, client = blocking.Silo("a", membership=url, handler=handler), blocking.Client(membership=url)
silo.start()
client.start()
for i in range(8):
    threading.Thread(target=call, args=[(silo, client)[i % 2], i], daemon=True).start()
until(lambda: len(calls) > 100)
sys.exit(7)
""",
        7,
    )


def test_row_26_a_thread_whose_call_ends_is_waited_for_as_any_thread_is():
    ends(
        """
replies, entered = [], threading.Event()

def slow(request):
    entered.set()
    time.sleep(0.1)  # The main thread is at its end by then.
    return b"reply"

silo = blocking.Silo("a", membership=url, handler=slow)
silo.start()
threading.Thread(target=lambda: os._exit(9 if silo.call("T", "1", "") == b"reply" else 1)).start()
entered.wait()
""",
        9,
        times=5,
    )


def test_row_26_sys_exit_in_a_plain_handler_is_an_answer():
    ends(
        """
import logging
logging.disable()

def leaving(request):
    sys.exit(7)

silo = blocking.Silo("a", membership=url, handler=leaving)
silo.start()
try:
    silo.call("T", "1", "")
except quark.HandlerFailedError as error:
    sys.exit(8 if "SystemExit: 7" in str(error) else 1)
""",
        8,
        times=5,
    )


@pytest.mark.parametrize("membership", ["memory://a", "gossip://127.0.0.1:0", "static://"])
def test_row_26_silos_and_clients_never_stopped(membership: str):
    ends(
        f"""
def echo(request):
    return request.payload

silo = blocking.Silo("a", membership="{membership}", handler=echo)
silo.start()
assert silo.call("T", "1", "", b"x") == b"x"

async def parts():
    global membership, transport
    membership, transport = quark.Membership("memory://b"), quark.Transport("t", handler=echo, listen="127.0.0.1:0")
    await membership.start("m", "127.0.0.1:1")
    await transport.start()

asyncio.run(parts())
"""
    )


def test_row_26_an_exit_by_an_error():
    for _ in range(5):
        ended = run_child(
            COMMON
            + """
silo = blocking.Silo("a", membership=url, handler=lambda request: time.sleep(60))
silo.start()
silo.notify("T", "1", "")
raise ArithmeticError("as it is")
""",
            LIMIT,
            flags=["-W", "ignore::ResourceWarning"],
        )
        assert ended.returncode == 1 and ended.stderr.endswith("ArithmeticError: as it is\n"), ended.stderr
