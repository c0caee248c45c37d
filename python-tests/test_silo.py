"""Silos and clients on asyncio."""

import asyncio
import contextvars
import logging
import socket
import subprocess
import threading

import pytest
import quark
from support import LIMIT, until


def url(name: str) -> str:
    return f"memory://{name}"


async def echo(request: quark.Request) -> bytes:
    return request.payload


def plain_echo(request: quark.Request) -> bytes:
    return request.payload


@pytest.mark.parametrize("handler", [echo, plain_echo])
async def test_a_call_reaches_the_owner_and_the_reply_comes_back(cluster_name, handler):
    async with quark.Silo("a", membership=url(cluster_name), handler=handler) as a, quark.Silo(
        "b", membership=url(cluster_name), handler=handler
    ) as b, quark.Client(membership=url(cluster_name)) as client:
        await until("all see both", lambda: len(a.silos()) == len(b.silos()) == len(client.silos()) == 2)
        replies = await asyncio.gather(
            *(caller.call("T", str(i), "", str(i).encode()) for i in range(300) for caller in (a, b, client))
        )
        assert replies == [str(i).encode() for i in range(300) for _ in range(3)]
        owners = {a.owner("T", str(i)) for i in range(300)}
        assert owners == {"a", "b"}
        assert a.endpoint.startswith("127.0.0.1:") and a.view_version > 0


async def test_what_a_handler_returns_or_raises_is_what_the_caller_gets(cluster_name, caplog):
    async def handler(request):
        if request.method_name == "raise":
            raise KeyError("no such account")
        return {"none": None, "array": bytearray(b"x"), "view": memoryview(b"y"), "text": "z"}[request.method_name]

    async with quark.Silo("a", membership=url(cluster_name), handler=handler) as silo:
        assert await silo.call("T", "1", "none") == b""
        assert await silo.call("T", "1", "array") == b"x"
        assert await silo.call("T", "1", "view") == b"y"
        with pytest.raises(quark.HandlerFailedError, match="reply='z': must be bytes-like, not str"):
            await silo.call("T", "1", "text")
        with caplog.at_level(logging.ERROR, "quark"), pytest.raises(quark.HandlerFailedError) as caught:
            await silo.call("T", "1", "raise")
        assert caught.value.message == "KeyError: 'no such account'"
        assert caught.value.delivered == "yes" and not caught.value.retryable
        assert any(record.exc_info and record.exc_info[0] is KeyError for record in caplog.records)


async def test_a_deadline_ends_a_call_and_cancelling_gives_it_up(cluster_name):
    async def never(request):
        await asyncio.get_running_loop().create_future()

    async with quark.Silo("a", membership=url(cluster_name), handler=never) as silo:
        with pytest.raises(TimeoutError) as caught:
            await silo.call("T", "1", "", timeout=0.05)
        assert isinstance(caught.value, quark.QuarkTimeoutError) and caught.value.delivered == "unknown"
        task = asyncio.ensure_future(silo.call("T", "1", ""))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await silo.stop(0.0)
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.cancel()


@pytest.mark.parametrize("kind", ["async", "def"])
async def test_requests_to_one_actor_start_in_order(cluster_name, kind):
    seen = []

    async def handler(request):
        seen.append(int(request.payload))
        await asyncio.sleep(0)

    def plain(request):
        seen.append(int(request.payload))

    chosen = handler if kind == "async" else plain
    async with quark.Silo("a", membership=url(cluster_name), handler=chosen), quark.Client(
        membership=url(cluster_name)
    ) as client:
        await asyncio.gather(*(client.call("T", "1", "", str(i).encode(), timeout=LIMIT) for i in range(1000)))
    assert seen == list(range(1000))


async def test_handlers_by_type_own_only_their_types(cluster_name):
    async with quark.Silo("a", membership=url(cluster_name), handlers={"Echo": plain_echo}) as silo:
        assert await silo.call("Echo", "1", "", b"x") == b"x"
        with pytest.raises(quark.NoSiloError) as caught:
            await silo.call("Other", "1", "")
        assert caught.value.retryable and caught.value.delivered == "no"
        assert silo.silos()[0].actor_types == ("Echo",)


async def test_a_notification_is_handed_over(cluster_name):
    got = threading.Event()
    async with quark.Silo("a", membership=url(cluster_name), handlers={"T": lambda request: got.set()}):
        async with quark.Client(membership=url(cluster_name)) as client:
            await client.notify("T", "1", "", b"x")
            await until("it is handed over", got.is_set)


async def test_calls_made_in_a_handler_inherit_correlation_and_the_starters_context(cluster_name):
    setting = contextvars.ContextVar("setting")
    setting.set("of the starter")

    async def outer(request):
        assert setting.get() == "of the starter"
        return await silo.call("Inner", "1", "")

    def inner(request):
        return request.correlation_id.encode()

    handlers = {"Outer": outer, "Inner": inner}
    async with quark.Silo("a", membership=url(cluster_name), handlers=handlers) as silo:
        assert await silo.call("Outer", "1", "", correlation_id="mine") == b"mine"
        assert await silo.call("Outer", "1", "") not in (b"", b"mine")


async def test_events_tell_who_joins_and_leaves(cluster_name):
    async with quark.Silo("a", membership=url(cluster_name), handler=echo) as a:
        events = []

        async def listen():
            async for event in a.events():
                events.append((event.kind, event.silo.silo_id))

        listening = asyncio.ensure_future(listen())
        await asyncio.sleep(0)
        async with quark.Silo("b", membership=url(cluster_name), handler=echo):
            await until("b joined", lambda: ("joined", "b") in events)
        await until("b left", lambda: ("left", "b") in events)
        listening.cancel()


async def test_a_handler_may_stop_its_silo(cluster_name):
    async def handler(request):
        await silo.stop()
        return b"stopping"

    silo = quark.Silo("a", membership=url(cluster_name), handler=handler)
    await silo.start()
    assert await silo.call("T", "1", "") == b"stopping"
    await until("it has stopped", lambda: not silo.is_running)
    await silo.stop()
    with pytest.raises(quark.NotRunningError):
        await silo.call("T", "1", "")
    with pytest.raises(quark.NotRunningError, match="started before"):
        await silo.start()


async def test_silos_meet_by_gossip(cluster_name):
    async with quark.Silo("a", membership="gossip://127.0.0.1:0", cluster=cluster_name, handler=echo) as a:
        seed = a.silos()[0].labels["quark.gossip"]
        joining = quark.Silo("b", membership=f"gossip://127.0.0.1:0?seed={seed}", cluster=cluster_name, handler=echo)
        async with joining as b:
            await until("both see both", lambda: len(a.silos()) == len(b.silos()) == 2)
            assert await b.call("T", "1", "", b"x") == b"x"


async def test_silos_meet_on_redis(redis_url, cluster_name):
    async with quark.Silo("a", membership=redis_url, cluster=cluster_name, handler=echo) as a:
        async with quark.Silo("b", membership=redis_url, cluster=cluster_name, handler=echo) as b:
            await until("both see both", lambda: len(a.silos()) == len(b.silos()) == 2)
            ids = [str(i) for i in range(100)]
            assert [a.owner("T", i) for i in ids] == [b.owner("T", i) for i in ids]
            assert await asyncio.gather(*(a.call("T", i, "", i.encode()) for i in ids)) == [i.encode() for i in ids]
        await until("b is gone", lambda: len(a.silos()) == 1)


async def test_large_payloads_pass_up_to_the_limit(cluster_name):
    async with quark.Silo("a", membership=url(cluster_name), handler=echo, max_payload=1 << 20) as silo:
        for payload in (bytes(1 << 20), bytearray(1 << 20), memoryview(bytes(1 << 20))):
            assert len(await silo.call("T", "1", "", payload)) == 1 << 20
        with pytest.raises(quark.PayloadTooLargeError, match="1048577 bytes, the limit is 1048576"):
            await silo.call("T", "1", "", bytes((1 << 20) + 1))


async def test_health_says_that_the_store_is_away_and_since_when(redis_server, cluster_name):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [redis_server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    redis = start()
    try:
        await until("Redis listens", lambda: is_open(port))
        url = f"redis://127.0.0.1:{port}"
        async with quark.Silo("a", membership=url, cluster=cluster_name, handler=lambda r: b"", heartbeat=0.2) as silo:
            assert silo.health == quark.Health("healthy") and silo.health
            redis.kill()
            redis.wait()
            await until("it notices", lambda: silo.health.status == "degraded")
            health = silo.health
            assert not health and health.part == "membership store" and health.reason
            assert health.since is not None and health.since.tzinfo is not None
            assert await silo.call("T", "1", "") == b"", "the last view stands"
            redis = start()
            await until("it is well again", lambda: silo.health.status == "healthy")
    finally:
        redis.kill()
        redis.wait()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
