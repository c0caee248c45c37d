"""Handlers that are slow or never return, and callers that give up."""

import asyncio
import threading
from typing import List

import pytest

import quark
from quark import blocking
from support import LIMIT, until


async def pair(cluster: str, **host_options: object) -> "tuple[quark.Silo, quark.Silo]":
    url = f"memory://{cluster}"
    host = quark.Silo("host", membership=url, **host_options)
    caller = quark.Silo("caller", membership=url, handlers={"Nothing": lambda request: b""})
    await host.start()
    await caller.start()
    return host, caller


async def test_row_6_a_plain_handler_that_never_returns_holds_up_no_other_type():
    release, entered = threading.Event(), threading.Semaphore(0)

    def stuck(request: quark.Request) -> bytes:
        entered.release()
        release.wait(60)
        return b"late"

    handlers = {"Stuck": stuck, "Echo": lambda request: request.payload}
    host, caller = await pair("stuck", handlers=handlers, handler_threads=1)
    try:
        for silo in (caller, host):
            with pytest.raises(quark.QuarkTimeoutError) as caught:
                await silo.call("Stuck", "1", "", timeout=0.1)
            assert caught.value.delivered == "unknown" and isinstance(caught.value, TimeoutError)
        for i in range(100):
            assert await caller.call("Echo", str(i), "", b"x", timeout=LIMIT) == b"x"
    finally:
        release.set()
        await caller.stop()
        await host.stop()


async def test_row_6_a_coroutine_that_never_returns_holds_up_nobody():
    async def stuck(request: quark.Request) -> bytes:
        if request.method_name == "never":
            await asyncio.get_running_loop().create_future()
        return request.payload

    silo = quark.Silo("a", membership="memory://never", handler=stuck)
    await silo.start()
    with pytest.raises(quark.QuarkTimeoutError):
        await silo.call("T", "1", "never", timeout=0.1)
    assert await silo.call("T", "1", "", b"x") == b"x"
    await silo.stop(drain=0.1)


@pytest.mark.parametrize("way", ["cancel", "deadline"])
async def test_giving_up_reaches_a_handler_that_asks(way: str):
    seen: List[str] = []

    async def watching(request: quark.Request) -> bytes:
        assert not request.is_abandoned and request.time_left > 0
        seen.append("entered")
        await until("nobody waits any more", lambda: request.is_abandoned)
        seen.append("given up")
        # An answer now could be there before the caller's own clock has struck.
        await asyncio.sleep(0.1)
        return b""

    host, caller = await pair(f"giving-up-{way}", handlers={"T": watching})
    for round_number, silo in enumerate((caller, host), start=1):
        call = asyncio.ensure_future(silo.call("T", "1", "", timeout=60 if way == "cancel" else 0.2))
        await until("it is there", lambda: len(seen) == 2 * round_number - 1)
        if way == "cancel":
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        else:
            with pytest.raises(quark.QuarkTimeoutError):
                await call
        await until("the handler knows", lambda: seen[-1] == "given up")
    await caller.stop()
    await host.stop()


async def test_a_full_inbox_refuses_at_once_and_only_its_own_callers():
    kept = asyncio.Event()

    async def slow(request: quark.Request) -> bytes:
        await kept.wait()
        return b""

    host, caller = await pair(
        "full", handlers={"Slow": slow, "Echo": lambda request: request.payload}, inbox_capacity=2
    )
    waiting = [asyncio.ensure_future(caller.call("Slow", str(i), "")) for i in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(quark.OverloadedError) as caught:
        for _ in range(100):
            await caller.call("Slow", "2", "", timeout=0.5)
    assert (caught.value.delivered, caught.value.retryable) == ("no", True)
    assert await caller.call("Echo", "1", "", b"x") == b"x"
    kept.set()
    assert await asyncio.gather(*waiting) == [b"", b""]
    await caller.stop()
    await host.stop()


async def test_a_large_payload_passes_where_the_limit_allows_it():
    size = 64 * 1024 * 1024
    url = "memory://large"
    async with quark.Silo("host", membership=url, handler=lambda r: r.payload, max_payload=size):
        async with quark.Client(membership=url, max_payload=size) as client:
            payload = bytes(bytearray(range(256))) * (size // 256)
            assert await client.call("T", "1", "", payload) == payload
            with pytest.raises(quark.PayloadTooLargeError, match=str(size + 1)):
                await client.call("T", "1", "", payload + b"x")


def test_bad_sizes_name_the_option():
    for option in ("inbox_bytes", "outbox_capacity", "max_pending", "answer_capacity"):
        with pytest.raises(quark.InvalidArgumentError, match=f"{option}=0"):
            blocking.Silo("a", membership="memory://sizes", handler=lambda r: b"", **{option: 0}).start()
