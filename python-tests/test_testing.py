"""``quark.testing``: a cluster for users' own tests, with faults on demand."""

import asyncio
import time
from typing import Any

import pytest

import quark
from quark import blocking, testing
from support import LIMIT, until


def whose(silo_id: str) -> Any:
    def handler(request: quark.Request) -> bytes:
        return silo_id.encode()

    return handler


def owned_by(silo: Any, silo_id: str) -> str:
    return next(str(i) for i in range(10_000) if silo.owner("T", str(i)) == silo_id)


async def test_silos_of_a_cluster_reach_each_other_and_no_other_cluster(quark_cluster: testing.Cluster) -> None:
    with testing.Cluster() as other:
        async with quark_cluster.silo("a", handler=whose("a")) as a, other.silo("a", handler=whose("other")):
            async with quark_cluster.silo("b", handler=whose("b")) as b, quark_cluster.client() as client:
                assert len(a.silos()) == len(b.silos()) == len(client.silos()) == 2
                for caller in (a, b, client):
                    for silo_id in ("a", "b"):
                        assert await caller.call("T", owned_by(a, silo_id), "") == silo_id.encode()


async def test_a_killed_silo_is_gone_at_once_and_its_calls_end(quark_cluster: testing.Cluster) -> None:
    entered = asyncio.Event()

    async def never(request: quark.Request) -> bytes:
        entered.set()
        await asyncio.get_running_loop().create_future()
        return b""

    a = quark_cluster.silo("a", handler=whose("a"))
    b = quark_cluster.silo("b", handler=never)
    await a.start()
    await b.start()
    actor = owned_by(a, "b")
    waiting = asyncio.ensure_future(a.call("T", actor, "", timeout=LIMIT))
    await entered.wait()
    quark_cluster.kill(b)
    with pytest.raises(quark.ConnectionLostError) as caught:
        await waiting
    assert caught.value.delivered == "unknown"
    assert [silo.silo_id for silo in a.silos()] == ["a"] and not b.is_running
    assert await a.call("T", actor, "", timeout=LIMIT) == b"a", "its actors live elsewhere"
    with pytest.raises(ValueError, match="host='b': no such silo"):
        quark_cluster.kill("b")


async def test_a_cut_is_noticed_after_the_patience_and_heals() -> None:
    async with testing.Cluster(patience=0.2) as cluster:
        async with cluster.silo("a", handler=whose("a")) as a, cluster.silo("b", handler=whose("b")) as b:
            actor = owned_by(a, "b")
            assert await a.call("T", actor, "") == b"b"
            cluster.cut(a, "b")
            with pytest.raises(quark.ConnectionLostError):
                await a.call("T", actor, "", timeout=LIMIT)
            with pytest.raises(quark.UnreachableError):
                await a.call("T", actor, "", timeout=0.3)
            assert len(a.silos()) == len(b.silos()) == 2, "a cut puts nobody out"
            cluster.heal(a, b)
            assert await a.call("T", actor, "", timeout=LIMIT) == b"b"


async def test_a_cut_of_one_way_lets_the_other_through(quark_cluster: testing.Cluster) -> None:
    handled: "asyncio.Queue[str]" = asyncio.Queue()

    async def handler(request: quark.Request) -> bytes:
        handled.put_nowait(request.actor_id)
        return b"x"

    async with quark_cluster.silo("a", handlers={"None": whose("a")}) as a, quark_cluster.silo("b", handler=handler):
        assert await a.call("T", "1", "") == b"x"
        quark_cluster.cut("b", "a", one_way=True)
        with pytest.raises(quark.QuarkTimeoutError):
            await a.call("T", "2", "", timeout=0.2)
        assert [handled.get_nowait(), handled.get_nowait()] == ["1", "2"], "it arrived, its answer did not"
        quark_cluster.heal()
        assert await a.call("T", "3", "", timeout=LIMIT) == b"x"


@pytest.mark.parametrize("count, size", [(1_500, 900), (5, 100_000)])
async def test_what_nobody_waits_for_any_more_holds_up_nothing_behind_it(count: int, size: int) -> None:
    async with testing.Cluster() as cluster, cluster.silo("a", handler=whose("a")), cluster.client() as client:
        cluster.cut("a", client)
        dead = [client.notify("T", "1", "", bytes(size), timeout=0.05) for _ in range(count)]
        assert all(isinstance(ended, quark.QuarkError) for ended in await asyncio.gather(*dead, return_exceptions=True))
        call = asyncio.ensure_future(client.call("T", "1", "", timeout=5))
        await asyncio.sleep(0)
        cluster.heal()
        assert await call == b"a"


async def test_messages_can_be_late_everywhere_or_between_two(quark_cluster: testing.Cluster) -> None:
    async def round_trip(caller: Any, target: str) -> float:
        began = time.monotonic()
        assert await caller.call("T", owned_by(caller, target), "", timeout=LIMIT) == target.encode()
        return time.monotonic() - began

    async with quark_cluster.silo("a", handler=whose("a")) as a, quark_cluster.silo("b", handler=whose("b")) as b:
        async with quark_cluster.silo("c", handler=whose("c")):
            quark_cluster.delay(0.1, one=a, other=b)
            assert await round_trip(a, "b") >= 0.2 and await round_trip(b, "a") >= 0.2
            assert min([await round_trip(a, "c") for _ in range(5)]) < 0.2
            quark_cluster.delay(0.15, jitter=0.01)
            assert await round_trip(a, "c") >= 0.3
            quark_cluster.delay(0)
            assert min([await round_trip(a, "c") for _ in range(5)]) < 0.3
    for bad in (-1.0, float("nan"), "1"):
        with pytest.raises((ValueError, TypeError), match="seconds="):
            quark_cluster.delay(bad)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="two hosts"):
        quark_cluster.delay(1.0, one="a")
    with pytest.raises(TypeError, match="host=5"):
        quark_cluster.cut(5, "a")  # type: ignore[arg-type]


async def test_reset_links_lose_what_was_sent_and_come_back(quark_cluster: testing.Cluster) -> None:
    entered = asyncio.Event()

    async def handler(request: quark.Request) -> bytes:
        if request.method_name == "wait":
            entered.set()
            await asyncio.get_running_loop().create_future()
        return b"x"

    silo = quark_cluster.silo("b", handler=handler)
    await silo.start()
    async with quark_cluster.client() as client:
        waiting = asyncio.ensure_future(client.call("T", "1", "wait", timeout=LIMIT))
        await entered.wait()
        quark_cluster.reset(client, silo)
        with pytest.raises(quark.ConnectionLostError):
            await waiting
        assert await client.call("T", "1", "", timeout=LIMIT) == b"x"
    await silo.stop(0.0)


def test_blocking_programs_take_part_by_the_url(quark_cluster: testing.Cluster) -> None:
    with blocking.Silo("a", membership=quark_cluster.url, handler=whose("a")) as a:
        with blocking.Silo("b", membership=quark_cluster.url, handler=whose("b")) as b:
            actor = owned_by(a, "b")
            assert a.call("T", actor, "") == b"b"
            assert repr(quark_cluster).endswith("['a', 'b']>")
            quark_cluster.kill(b)
            assert a.call("T", actor, "", timeout=LIMIT) == b"a"


async def test_a_closed_cluster_leaves_nothing_running() -> None:
    cluster = testing.Cluster()
    silo = cluster.silo("a", handler=whose("a"))
    await silo.start()
    cluster.close()
    cluster.close()
    await until("it ends", lambda: not silo.is_running)
    with pytest.raises(quark.NotRunningError):
        await silo.call("T", "1", "")
