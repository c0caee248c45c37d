"""Silos that nobody holds any more, in whatever state and order: they go, with all that they held, exactly once. Each
test is a process of its own with a limit; the rows are those of docs/FAILURES.md."""

import pytest

from support import ends_well
from test_lives import COMMON

#: Silos are dropped without a stop here, on purpose.
UNSTOPPED = ("-W", "ignore::ResourceWarning")

OWNERS = {
    "never started": "pass",
    "started and stopped": "owner.silo.start(); owner.silo.stop()",
    "started, used and stopped": "owner.silo.start(); owner.silo.call('T', '1', ''); owner.silo.stop()",
    "started and dropped": "owner.silo.start(); owner.silo.call('T', '1', '')",
}


@pytest.mark.parametrize("life", OWNERS)
@pytest.mark.parametrize("handler", ["self.handle", "lambda request: self.handle(request)"])
def test_row_32_an_object_that_owns_a_silo_whose_handler_it_is_can_go(life: str, handler: str):
    """A cycle through the native half, which the collector has to see."""
    ends_well(
        COMMON
        + f"""
class Owner:
    def __init__(self):
        self.silo = blocking.Silo("a", membership=url, handler={handler})

    def handle(self, request):
        return request.payload

owner = Owner()
{OWNERS[life]}
gone = weakref.ref(owner), weakref.ref(owner.silo), weakref.ref(owner.silo._node)
del owner
until_gone(*gone)
""",
        flags=UNSTOPPED,
    )


@pytest.mark.parametrize("life", ["pass", "await silo.start(); await silo.stop()", "await silo.start()"])
def test_row_32_a_coroutine_that_closes_over_its_silo_can_go(life: str):
    ends_well(
        COMMON
        + f"""
async def main():
    async def handler(request):
        return silo.silo_id.encode()

    silo = quark.Silo("a", membership=url, handlers={{"T": handler, "U": lambda request: silo}})
    {life}
    return weakref.ref(silo), weakref.ref(handler)

gone = asyncio.run(main())
until_gone(*gone)
""",
        flags=UNSTOPPED,
    )


def test_row_32_handlers_are_dropped_once_and_at_the_latest_when_their_silo_goes():
    ends_well(
        COMMON
        + """
import random
dropped = []

class Handler:
    def __call__(self, request):
        return request.payload

class Coroutine:
    async def __call__(self, request):
        return request.payload

def handlers(n):
    made = [kind() for kind in (Handler, Coroutine, Handler)]
    for i, handler in enumerate(made):
        weakref.finalize(handler, dropped.append, (n, i))
    return made

async def life(n, order):
    plain, coroutine, other = handlers(n)
    things = [
        quark.Silo("a", membership=url, handlers={"P": plain, "C": coroutine}),
        quark.Transport("t", handler=other, listen="127.0.0.1:0"),
        quark.Client(membership=url),
    ]
    del plain, coroutine, other
    if order.random() < 0.8:
        for thing in things:
            await thing.start()
        for kind in "PC":
            assert await things[2].call(kind, "1", "", b"x") == b"x"
        order.shuffle(things)
        for thing in things:
            await thing.stop()
    order.shuffle(things)
    while things:
        things.pop()
        if order.random() < 0.2:
            gc.collect()

order = random.Random(1)
loop = asyncio.new_event_loop()
for n in range(100):
    loop.run_until_complete(life(n, order))
loop.close()
until(lambda: gc.collect() + len(quark.HashRing()) >= 0 and len(dropped) >= 300)
assert sorted(dropped) == [(n, i) for n in range(100) for i in range(3)]
"""
    )


@pytest.mark.parametrize("membership", ["memory://lives", "gossip://127.0.0.1:0"])
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_row_32_a_silo_dropped_without_a_stop_ends_and_says_so(kind: str, membership: str):
    """Its port refuses connections, and the others see it leave."""
    ends_well(
        COMMON
        + f"""
import logging, socket, warnings

logging.disable(logging.WARNING)  # By gossip the other may find that it refuses connections, and say so, before its silence tells.

def echo(request):
    return request.payload

def dropped_blocking(url):
    silo = blocking.Silo("dropped", membership=url, handler=echo)
    silo.start()
    assert silo.call("T", "1", "", b"x") == b"x"
    return silo.endpoint

async def dropped_asyncio(url):
    silo = quark.Silo("dropped", membership=url, handler=echo)
    await silo.start()
    assert await silo.call("T", "1", "", b"x") == b"x"
    return silo.endpoint

def refuses(endpoint):
    host, port = endpoint.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionError:  # Refused; or reset, when it came while the port was closed.
        return True
    return False

with blocking.Silo("other", membership="{membership}", handler=echo) as other:
    seed = other.silos()[0].labels.get("quark.gossip")
    url = f"gossip://127.0.0.1:0?seed={{seed}}" if seed else "{membership}"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        endpoint = dropped_blocking(url) if "{kind}" == "blocking" else asyncio.run(dropped_asyncio(url))
        gc.collect()
    until(lambda: refuses(endpoint))
    until(lambda: [silo.silo_id for silo in other.silos()] == ["other"])
    assert [warning.category for warning in said] == [ResourceWarning], said
    assert "dropped" in str(said[0].message), said[0]
"""
    )


def test_row_32_what_was_never_started_or_was_stopped_is_dropped_in_silence():
    ends_well(
        COMMON
        + """
import warnings

def lives():
    blocking.Silo("a", membership=url, handler=print)
    blocking.Client(membership=url)
    stopped = blocking.Silo("a", membership=url, handler=lambda request: stopped.stop())
    stopped.start()
    stopped.call("T", "1", "")
    until(lambda: not stopped.is_running)
    with blocking.Client(membership=url):
        pass
    failed = blocking.Silo("a", membership="redis://127.0.0.1:1", handler=print, start_timeout=0.01)
    try:
        failed.start()
    except quark.MembershipUnavailableError:
        pass

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    lives()
    gc.collect()
assert said == []
"""
    )


def test_row_32_a_client_dropped_without_a_stop_fails_its_calls():
    """Whoever still waits for a call of it is told."""
    ends_well(
        COMMON
        + """
entered = []

async def never(request):
    entered.append(request)
    await asyncio.get_running_loop().create_future()

async def main():
    async with quark.Silo("a", membership=url, handler=never) as silo:
        client = quark.Client(membership=url)
        await client.start()
        future, handle = client._node.call(quark._loop.bridge(), ("T", "1", "", b"", None, None), None, False, None)
        while not entered:
            await asyncio.sleep(0.001)
        del client
        gc.collect()
        try:
            await asyncio.wait_for(future, 10)
        except quark.QuarkError as error:
            assert error.delivered in ("unknown", "yes")
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

asyncio.run(main())
""",
        flags=UNSTOPPED,
    )
