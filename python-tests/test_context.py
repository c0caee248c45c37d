"""What a handler's code inherits from its request to the calls it makes: correlation, trace, and deadline."""

import asyncio
import contextvars
import re
import threading
import time
from typing import Any, List, Optional

import pytest

import quark
from quark import blocking
from support import LIMIT, until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FORM = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01\Z")


def both_kinds(handler: Any) -> List[Any]:
    async def as_coroutine(request: quark.Request) -> Any:
        return handler(request)

    return [handler, as_coroutine]


@pytest.mark.parametrize("kind", [0, 1], ids=["def", "async"])
async def test_a_trace_is_read_passed_on_and_begun_where_there_is_none(cluster_name: str, kind: int) -> None:
    inner = both_kinds(lambda request: request.traceparent.encode())[kind]

    async def outer(request: quark.Request) -> bytes:
        assert request.traceparent and request is quark.current_request()
        replies = [await silo.call("Inner", "1", ""), await other.call("Inner", "2", "")]
        replies += await silo.call_many([("Inner", "3", ""), ("Inner", "4", "")])
        assert set(replies) == {request.traceparent.encode()}
        return replies[0]

    url = f"memory://{cluster_name}"
    async with quark.Silo("a", membership=url, handlers={"Inner": inner, "Outer": outer}) as silo:
        async with quark.Client(membership=url) as other:
            for caller in (silo, other):
                assert await caller.call("Outer", "1", "", traceparent=TRACE) == TRACE.encode()
                begun = [(await caller.call("Outer", str(i), "")).decode() for i in range(3)]
                assert all(FORM.match(traceparent) for traceparent in begun) and len(set(begun)) == 3
            with pytest.raises(quark.InvalidArgumentError, match="traceparent='?\"?not-one"):
                await silo.call("Inner", "1", "", traceparent="not-one")
    assert quark.current_request() is None


async def test_a_call_made_in_a_handler_ends_when_its_own_caller_stops_waiting(cluster_name: str) -> None:
    ended: "asyncio.Future[quark.QuarkError]" = asyncio.get_running_loop().create_future()
    given_up = asyncio.Event()

    async def never(request: quark.Request) -> bytes:
        assert request.time_left < 1.0, "the deadline is inherited"
        await asyncio.get_running_loop().create_future()
        return b""

    async def outer(request: quark.Request) -> bytes:
        try:
            # Neither the default of 30 s nor the 50 s asked for here are left.
            await silo.call("Never", "1", "", timeout=None if request.method_name == "default" else 50.0)
        except quark.QuarkError as error:
            ended.set_result(error)
        # An answer at the very end of the time may still be in time.
        await given_up.wait()
        return b""

    url = f"memory://{cluster_name}"
    silo = quark.Silo("a", membership=url, handlers={"Never": never, "Outer": outer})
    await silo.start()
    async with quark.Client(membership=url) as client:
        for method in ("default", "longer"):
            ended = asyncio.get_running_loop().create_future()
            given_up = asyncio.Event()
            with pytest.raises(quark.QuarkTimeoutError):
                await client.call("Outer", "1", method, timeout=0.3)
            given_up.set()
            assert isinstance(await asyncio.wait_for(ended, LIMIT), quark.QuarkTimeoutError)
    await silo.stop(0.0)


async def test_what_goes_on_after_the_answer_is_not_limited_by_it(cluster_name: str) -> None:
    later: List["asyncio.Task[bytes]"] = []
    answered: List[quark.Request] = []
    expired = asyncio.Event()

    async def echo(request: quark.Request) -> bytes:
        return f"{request.correlation_id} {request.time_left > 1.0}".encode()

    async def outer(request: quark.Request) -> bytes:
        async def background() -> bytes:
            await expired.wait()
            return await silo.call("Echo", "1", "")

        answered.append(request)
        later.append(asyncio.ensure_future(background()))
        return b"soon"

    async with quark.Silo(
        "a", membership=f"memory://{cluster_name}", handlers={"Echo": echo, "Outer": outer}
    ) as silo:
        assert await silo.call("Outer", "1", "", timeout=0.2, correlation_id="mine") == b"soon"
        await until("its deadline has passed", lambda: answered[0].time_left == 0.0)
        expired.set()
        assert await later[0] == b"mine True"


def test_a_plain_handler_inherits_on_its_thread(cluster_name: str) -> None:
    def inner(request: quark.Request) -> bytes:
        return f"{request.correlation_id} {request.traceparent} {request.time_left < 5.0}".encode()

    def outer(request: quark.Request) -> bytes:
        current: Optional[quark.Request] = quark.current_request()
        assert current is request
        return silo.call("Inner", "1", "")

    handlers = {"Inner": inner, "Outer": outer}
    with blocking.Silo("a", membership=f"memory://{cluster_name}", handlers=handlers) as silo:
        reply = silo.call("Outer", "1", "", timeout=4.0, correlation_id="c", traceparent=TRACE)
        assert reply == f"c {TRACE} True".encode()


async def test_a_call_with_no_time_left_is_refused_as_not_delivered(cluster_name: str) -> None:
    caught: List[quark.QuarkError] = []
    given_up = threading.Event()

    def outer(request: quark.Request) -> bytes:
        while request.time_left > 0:
            time.sleep(0.005)
        try:
            asyncio.run_coroutine_threadsafe(call_as(request), loop).result(LIMIT)
        except quark.QuarkError as error:
            caught.append(error)
        given_up.wait(LIMIT)  # As above.
        return b""

    async def call_as(request: quark.Request) -> bytes:
        assert quark.current_request() is request, "the context of the thread goes along"
        return await silo.call("Inner", "1", "")

    loop = asyncio.get_running_loop()
    handlers = {"Inner": lambda request: b"", "Outer": outer}
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handlers=handlers) as silo:
        with pytest.raises(quark.QuarkTimeoutError):
            await silo.call("Outer", "1", "", timeout=0.5)
        given_up.set()
        await until("the handler is done", lambda: bool(caught))
    assert isinstance(caught[0], quark.QuarkTimeoutError) and caught[0].delivered == "no"


async def test_handlers_see_the_context_of_the_code_that_started_the_silo(cluster_name: str) -> None:
    setting = contextvars.ContextVar("setting", default="none")
    setting.set("of the starter")

    def seen(request: quark.Request) -> bytes:
        before = setting.get()
        setting.set("of a request")
        return before.encode()

    plain, coroutine = both_kinds(seen)
    async with quark.Silo(
        "a", membership=f"memory://{cluster_name}", handlers={"Plain": plain, "Coroutine": coroutine}
    ) as silo:
        for actor_type in ("Plain", "Coroutine"):
            for _ in range(2):
                assert await silo.call(actor_type, "1", "") == b"of the starter"
    assert setting.get() == "of the starter"
