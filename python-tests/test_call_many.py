"""Many calls at once."""

import asyncio
from typing import Any, Iterator, List, Tuple

import pytest

import quark
from quark import blocking
from support import LIMIT, until


def handler(request: quark.Request) -> bytes:
    if request.method_name == "fail":
        raise ValueError(request.actor_id)
    return request.actor_id.encode() + request.payload


async def test_replies_come_in_the_order_of_the_calls_from_all_silos(cluster_name: str) -> None:
    url = f"memory://{cluster_name}"
    async with quark.Silo("a", membership=url, handler=handler) as a:
        async with quark.Silo("b", membership=url, handler=handler) as b, quark.Client(membership=url) as client:
            await until("both see both", lambda: len(a.silos()) == len(b.silos()) == len(client.silos()) == 2)
            for caller in (a, client):
                calls = [("T", str(i), "get", b"!") for i in range(5000)]
                assert await caller.call_many(calls) == [b"%d!" % i for i in range(5000)]
                assert await caller.call_many(("T", str(i), "get") for i in range(3)) == [b"0", b"1", b"2"]
                assert await caller.call_many([]) == []


def test_without_a_loop_too(cluster_name: str) -> None:
    with blocking.Silo("a", membership=f"memory://{cluster_name}", handler=handler) as silo:
        assert silo.call_many([("T", str(i), "get") for i in range(100)]) == [b"%d" % i for i in range(100)]
        assert silo.call_many([]) == []


async def test_errors_are_raised_or_stand_in_their_place(cluster_name: str) -> None:
    calls: List[Tuple[str, str, str]] = [("T", "0", "get"), ("T", "1", "fail"), ("T", "", "get"), ("T", "3", "fail")]
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=handler) as silo:
        with pytest.raises(quark.HandlerFailedError, match="ValueError: 1"):
            await silo.call_many(calls)
        first, second, third, fourth = await silo.call_many(calls, return_exceptions=True)
        assert first == b"0"
        assert isinstance(second, quark.HandlerFailedError) and second.exception_text == "1"
        assert isinstance(third, quark.InvalidArgumentError) and "actor_id" in third.message
        assert isinstance(fourth, quark.HandlerFailedError) and fourth.exception_type == "ValueError"


@pytest.mark.parametrize(
    "calls, said",
    [
        (["text"], r"calls\[0\]='text': must be a tuple"),
        ([("T", "1", "m"), ("T", "1")], r"calls\[1\] has 2 items: must be a tuple"),
        ([("T", "1", "m", b"", b"")], r"calls\[0\] has 5 items: must be a tuple"),
        ([("T", 5, "m")], r"calls\[0\]: actor_id=5: must be str, not int"),
        ([("T", "1", "m"), ("T", "1", "m", "text")], r"calls\[1\]: payload='text': must be bytes-like, not str"),
        (7, "calls=7: must be an iterable of tuples, not int"),
    ],
)
async def test_what_is_no_call_is_named_and_nothing_is_sent(cluster_name: str, calls: Any, said: str) -> None:
    got: List[quark.Request] = []
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=got.append) as silo:
        with pytest.raises(TypeError, match=said):
            await silo.call_many(calls)
    assert got == []


def test_what_an_iterable_raises_is_raised(cluster_name: str) -> None:
    def calls() -> Iterator[Tuple[str, str, str]]:
        yield ("T", "1", "get")
        raise KeyError("mine")

    with blocking.Silo("a", membership=f"memory://{cluster_name}", handler=handler) as silo:
        with pytest.raises(KeyError, match="mine"):
            silo.call_many(calls())


async def test_cancelling_gives_all_of_them_up(cluster_name: str) -> None:
    entered: List[str] = []
    abandoned: List[str] = []

    async def waiting(request: quark.Request) -> bytes:
        entered.append(request.actor_id)
        await until("nobody waits any more", lambda: request.is_abandoned)
        abandoned.append(request.actor_id)
        return b""

    url = f"memory://{cluster_name}"
    async with quark.Silo("a", membership=url, handler=waiting), quark.Client(membership=url) as client:
        many = asyncio.ensure_future(client.call_many([("T", str(i), "", b"") for i in range(50)], timeout=LIMIT))
        await until("all are there; what is not is not handed over", lambda: len(entered) == 50)
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        await until("each handler knows", lambda: len(abandoned) == 50)


async def test_a_deadline_is_that_of_each(cluster_name: str) -> None:
    async def half(request: quark.Request) -> bytes:
        if request.actor_id == "slow":
            await asyncio.get_running_loop().create_future()
        return b"x"

    silo = quark.Silo("a", membership=f"memory://{cluster_name}", handler=half)
    await silo.start()
    ended = await silo.call_many([("T", "quick", ""), ("T", "slow", "")], timeout=0.1, return_exceptions=True)
    assert ended[0] == b"x" and isinstance(ended[1], quark.QuarkTimeoutError)
    await silo.stop(0.0)
