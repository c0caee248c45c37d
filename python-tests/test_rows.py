"""Handlers that raise, call back, stop their silo; silos used at the wrong time; unusual ids. The rows are those of
docs/FAILURES.md."""

import asyncio
import logging
from typing import Any, List

import pytest

import quark
from quark import blocking
from support import LIMIT, until


def silo(cluster: str, handler: Any, silo_id: str = "a") -> quark.Silo:
    return quark.Silo(silo_id, membership=f"memory://{cluster}", handler=handler)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_row_7_what_a_handler_raises_reaches_the_caller_and_the_silo_lives(kind: str, caplog: Any):
    def raising(request: quark.Request) -> bytes:
        if request.method_name == "raise":
            raise ValueError("as asked")
        return request.payload

    async def raising_async(request: quark.Request) -> bytes:
        return raising(request)

    handler = raising if kind == "plain" else raising_async
    async with silo(f"raise-{kind}", handler) as host:
        with caplog.at_level(logging.ERROR), pytest.raises(quark.HandlerFailedError) as caught:
            await host.call("T", "1", "raise")
        assert "ValueError" in str(caught.value) and "as asked" in str(caught.value)
        assert (caught.value.delivered, caught.value.retryable) == ("yes", False)
        await until("the traceback is logged", lambda: "Traceback" in caplog.text)
        assert await host.call("T", "1", "", b"x") == b"x"


async def test_row_8_a_handler_may_call_the_silo_itself_and_its_own_actor():
    async def calling(request: quark.Request) -> bytes:
        depth = int(request.payload)
        if depth == 0:
            return request.actor_id.encode()
        own = await host.call("T", request.actor_id, "", str(depth - 1).encode(), timeout=LIMIT)
        other = await host.call("T", "other", "", b"0", timeout=LIMIT)
        return own + other

    async with silo("calls", calling) as host:
        assert await host.call("T", "own", "", b"3", timeout=LIMIT) == b"own" + b"other" * 3


def test_row_8_a_plain_handler_may_too_and_endless_recursion_is_refused():
    depths: List[int] = []

    def calling(request: quark.Request) -> bytes:
        depths.append(len(depths))
        return host.call("T", request.actor_id, "", b"", timeout=LIMIT)

    with blocking.Silo("a", membership="memory://recursion", handler=calling) as host:
        with pytest.raises(quark.HandlerFailedError, match="REENTRANT"):
            host.call("T", "own", "", b"", timeout=LIMIT)
        assert len(depths) > 10


async def test_row_8_a_blocking_call_on_the_loop_that_should_answer_it_ends_by_its_deadline():
    async def blocks_its_loop(request: quark.Request) -> bytes:
        if request.method_name == "":
            return request.payload
        with pytest.raises(quark.QuarkTimeoutError):
            client.call("T", request.actor_id, "", timeout=0.2)
        return b"it lives"

    async with silo("blocks", blocks_its_loop) as host:
        client = blocking.Client(membership="memory://blocks")
        client.start()
        assert await host.call("T", "1", "blocks", timeout=LIMIT) == b"it lives"
        assert await host.call("T", "1", "", b"x", timeout=LIMIT) == b"x"
        client.stop()


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_row_9_a_handler_may_stop_its_silo_and_its_reply_arrives(kind: str):
    loop = asyncio.get_running_loop()

    async def stopping(request: quark.Request) -> bytes:
        await host.stop()
        return b"bye"

    def stopping_plain(request: quark.Request) -> bytes:
        asyncio.run_coroutine_threadsafe(host.stop(), loop)
        return b"bye"

    host = silo(f"stops-{kind}", stopping if kind == "async" else stopping_plain)
    await host.start()
    assert await host.call("T", "1", "", timeout=LIMIT) == b"bye"
    await until("it stops", lambda: not host.is_running)


async def test_row_11_stop_twice_start_after_stop_use_after_stop():
    host = silo("twice", lambda request: b"")
    with pytest.raises(quark.NotRunningError):
        await host.call("T", "1", "")
    await host.start()
    await host.stop()
    await host.stop()
    for use in (host.start, lambda: host.call("T", "1", ""), lambda: host.notify("T", "1", "")):
        with pytest.raises(quark.NotRunningError) as caught:
            await use()
        assert caught.value.delivered == "no"
    assert not host.is_running


def test_row_11_blocking():
    host = blocking.Silo("a", membership="memory://twice-blocking", handler=lambda request: b"")
    host.start()
    host.stop()
    host.stop()
    for use in (host.start, lambda: host.call("T", "1", "")):
        with pytest.raises(quark.NotRunningError):
            use()


async def test_row_11_clients_and_what_was_never_started():
    url, loop = "memory://twice-clients", asyncio.get_running_loop()
    client, blocking_client = quark.Client(membership=url), blocking.Client(membership=url)
    never, alone, transport = silo("never", print), quark.Membership(url), quark.Transport("t", handler=print)
    for part in (client, never, alone, transport):
        await part.stop()
    await client.start()
    blocking_client.start()
    for start in (client.start, lambda: loop.run_in_executor(None, blocking_client.start)):
        with pytest.raises(quark.NotRunningError, match="started before"):
            await start()
    for _ in range(2):
        await asyncio.gather(client.stop(), client.stop())
        blocking_client.stop()
    for use in (client.start, lambda: client.call("T", "1", ""), lambda: never.notify("T", "1", "")):
        with pytest.raises(quark.NotRunningError):
            await use()
    with pytest.raises(quark.NotRunningError):
        blocking_client.call("T", "1", "")
    await never.start()
    await never.stop()


UNUSUAL = ["a:b", "{braces}", "*", "a b", "ü💡", "x" * 1024]
REFUSED = ["", "nul\0", "tab\t", "x" * (1 << 20)]


async def test_row_20_unusual_ids_work_and_impossible_ones_are_refused():
    async def echo(request: quark.Request) -> bytes:
        return f"{request.actor_type}|{request.actor_id}".encode()

    async with silo("ids", echo, "silo:{1}*ü") as host:
        async with quark.Client(membership="memory://ids") as client:
            for name in UNUSUAL:
                assert await client.call(name, name, "", timeout=LIMIT) == f"{name}|{name}".encode()
            for name in REFUSED:
                for actor in ((name, "1"), ("T", name)):
                    with pytest.raises(quark.InvalidArgumentError) as caught:
                        await host.call(actor[0], actor[1], "")
                    assert len(str(caught.value)) < 500 and "actor_" in str(caught.value)
    for name in ["", "nul\0", "x" * 256]:
        with pytest.raises(quark.InvalidArgumentError, match="silo_id"):
            await silo("ids-refused", echo, name).start()


async def test_a_handler_may_use_its_silo_from_the_first_request_on():
    """Others see a silo before its own program knows that it has started; what they send waits for that."""
    async with silo("first", lambda request: b"other", "other") as other:
        for _ in range(20):

            async def calling(request: quark.Request) -> bytes:
                return b"%d" % host.view_version

            host = silo("first", calling, "host")
            calls = [asyncio.ensure_future(other.call("T", str(i), "", timeout=LIMIT)) for i in range(5)]
            starting = asyncio.ensure_future(host.start())
            while not starting.done():
                calls += [asyncio.ensure_future(other.call("T", str(i), "", timeout=LIMIT)) for i in range(5)]
                await asyncio.sleep(0)
            await starting
            calls += [asyncio.ensure_future(other.call("T", str(i), "", timeout=LIMIT)) for i in range(5)]
            assert all(reply == b"other" or int(reply) > 0 for reply in await asyncio.gather(*calls))
            await host.stop()
