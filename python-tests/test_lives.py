"""Silos that start and stop many times, and silos that are dropped: nothing grows, nothing is left, nothing runs twice.
Each test is a process of its own with a limit; the rows are those of docs/FAILURES.md."""

import pytest

from support import ends_well

COMMON = """
import asyncio, gc, os, threading, time, weakref, quark
from quark import blocking

url = "memory://lives"

def size():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")

def until(holds):
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)

def until_gone(*refs):
    def gone():
        gc.collect()
        quark.HashRing()  # What another thread let go is dropped when Python next calls the native half.
        return all(ref() is None for ref in refs)
    until(gone)

def counts():
    gc.collect()
    threads, descriptors = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    return threads, descriptors, len(gc.get_objects()), size()

def flat(life):
    for _ in range(100):
        life()
    # Threads of a silo that has stopped end in a moment of their own.
    until(lambda: len(os.listdir("/proc/self/task")) <= 4)
    before = counts()
    for _ in range(150):
        life()
    half = counts()
    for _ in range(250):
        life()
    # And so do descriptors that the runtime's thread lets go of last.
    until(lambda: len(os.listdir("/proc/self/task")) <= before[0] and len(os.listdir("/proc/self/fd")) <= before[1])
    after = counts()
    assert after[1] <= before[1], ("descriptors", before, half, after)
    assert after[2] <= before[2] + 50, ("objects", before, half, after)
    assert after[3] - half[3] < 3 << 20, ("memory", before, half, after)
"""


def test_row_32_five_hundred_lives_of_a_blocking_silo():
    ends_well(
        COMMON
        + """
def life():
    with blocking.Silo("a", membership=url, handler=lambda request: request.payload) as silo:
        with blocking.Client(membership=url) as client:
            assert silo.call("T", "1", "", b"x") == client.call("T", "1", "", b"x") == b"x"

flat(life)
""",
        timeout=55,
    )


def test_row_32_five_hundred_lives_on_one_loop():
    ends_well(
        COMMON
        + """
async def echo(request):
    return request.payload

async def life():
    async with quark.Silo("a", membership=url, handlers={"A": echo, "P": lambda request: request.payload}) as silo:
        async with quark.Client(membership=url) as client:
            assert await silo.call("A", "1", "", b"x") == await client.call("P", "1", "", b"x") == b"x"

loop = asyncio.new_event_loop()
flat(lambda: loop.run_until_complete(life()))
loop.close()
""",
        timeout=55,
    )


def test_row_32_five_hundred_loops():
    ends_well(
        COMMON
        + """
async def echo(request):
    return request.payload

async def life():
    async with quark.Silo("a", membership=url, handler=echo) as silo:
        assert await silo.call("T", "1", "", b"x") == b"x"

flat(lambda: asyncio.run(life()))
""",
        timeout=55,
    )


def test_row_32_silos_that_fail_to_start_leave_nothing():
    ends_well(
        COMMON
        + """
def handler(request):
    return request.payload

def life():
    with blocking.Silo("a", membership=url, handler=handler) as silo:
        taken = dict(membership=url, listen=silo.endpoint)
        for wrong in (taken, dict(membership="redis://127.0.0.1:1", start_timeout=0.001)):
            try:
                blocking.Silo("b", handler=handler, **wrong).start()
            except quark.QuarkError:
                pass
            else:
                raise AssertionError(wrong)

flat(life)
""",
        timeout=55,
    )


def test_row_32_requests_leave_nothing_whatever_becomes_of_them():
    ends_well(
        COMMON
        + """
import logging
logging.disable()
entered = []

async def handler(request):
    if request.method_name == "fail":
        raise ValueError
    if request.method_name == "never":
        entered.append(1)
        await asyncio.sleep(0.01)
    return request.payload

def plain(request):
    if request.method_name == "fail":
        raise ValueError
    return request.payload

async def life(node):
    calls = [node.call(kind, str(i), how, b"x") for i in range(50) for kind in "AP" for how in ("", "fail")]
    await asyncio.gather(*calls, return_exceptions=True)
    call = asyncio.ensure_future(node.call("A", "1", "never"))
    while not entered:
        await asyncio.sleep(0)
    call.cancel()
    entered.clear()
    await asyncio.gather(call, return_exceptions=True)
    await node.notify("A", "1", "")

async def main():
    async with quark.Silo("a", membership=url, handlers={"A": handler, "P": plain}) as silo:
        async with quark.Client(membership=url) as client:
            async def lives(times):
                for _ in range(times):
                    await life(silo)
                    await life(client)
                while len(asyncio.all_tasks()) > 1:
                    await asyncio.sleep(0.001)
                return counts()

            before = await lives(20)
            half = await lives(20)
            after = await lives(20)
    assert after[0] <= before[0] and after[1] <= before[1], ("threads, descriptors", before, after)
    assert after[2] <= before[2] + 50, ("objects", before, half, after)
    assert after[3] - half[3] < 3 << 20, ("memory", before, half, after)

asyncio.run(main())
"""
    )
