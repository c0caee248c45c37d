"""Quark's side: through the public API, as any program would use it.

Serving: ``async`` and ``def``, after the kind of handler. Calling: ``call``, an awaited call for each request; ``many``, so many
by one ``call_many``; ``one-way``; ``blocking``, with a thread for each call in flight; ``local`` and ``local-async``, a silo that calls
itself, after the kind of its handler.
"""

import itertools
from typing import Any

import quark
from meter import Load, measure, measure_threads, until_dismissed
from quark import blocking


async def coroutine(request: quark.Request) -> bytes:
    return request.payload


def plain(request: quark.Request) -> bytes:
    return request.payload


async def serve(kind: str, name: str) -> None:
    handler = coroutine if kind == "async" else plain
    async with quark.Silo(name, membership="static://", handler=handler) as silo:
        print("ready", silo.endpoint, flush=True)
        await until_dismissed()


async def call(way: str, load: Load) -> None:
    if way == "blocking":
        return call_from_threads(load)
    if way.startswith("local"):
        handler = coroutine if way == "local-async" else plain
        async with quark.Silo("server", membership="static://", handler=handler) as silo:
            return await single(load, silo)
    async with quark.Client(membership=f"static://{load.targets}") as client:
        await {"call": single, "many": many, "one-way": one_way}[way](load, client)


async def single(load: Load, caller: Any) -> None:
    content, ids = load.content, itertools.cycle(load.ids)

    async def one() -> None:
        assert await caller.call("Device", next(ids), "Echo", content) == content

    await measure(load, one, load.depth)


async def many(load: Load, caller: Any) -> None:
    content, ids = load.content, itertools.cycle(load.ids)
    calls = [("Device", next(ids), "Echo", content) for _ in range(load.depth)]
    echoed = [content] * load.depth

    async def all_of_them() -> None:
        assert await caller.call_many(calls) == echoed

    await measure(load, all_of_them, 1, at_once=load.depth)


async def one_way(load: Load, caller: Any) -> None:
    """In windows whose last one is a call, so that no more are under way than the server can take."""
    content, ids = load.content, itertools.cycle(load.ids)

    async def window() -> None:
        for _ in range(load.depth - 1):
            await caller.notify("Device", next(ids), "Echo", content)
        assert await caller.call("Device", next(ids), "Echo", content) == content

    await measure(load, window, 1, at_once=load.depth)


def call_from_threads(load: Load) -> None:
    content, ids = load.content, itertools.cycle(load.ids)
    with blocking.Client(membership=f"static://{load.targets}") as client:

        def one() -> None:
            assert client.call("Device", next(ids), "Echo", content) == content

        measure_threads(load, one)
