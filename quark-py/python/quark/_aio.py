"""Silos, clients, membership and transport for asyncio: the verbs that wait."""

import asyncio
from types import TracebackType
from typing import Any, AsyncIterator, Iterable, List, Literal, Optional, Tuple, Type, Union, overload

from . import _handlers, _logging, _loop, _process
from ._base import Base, ClientBase, MembershipBase, Self, SiloBase, TransportBase, endings
from ._errors import NotRunningError, QuarkError
from ._handlers import current
from ._quark import Begun, Envelope, OwnershipWatch
from ._types import Call, MembershipEvent, OwnershipChange, Payload, SiloInfo, events_between


async def _end(begun: "Tuple[asyncio.Future[Any], Begun]") -> Any:
    """Waits for what was begun; cancelling gives it up."""
    future, handle = begun
    try:
        return await future
    except asyncio.CancelledError:
        handle.cancel()
        raise


class _Async(Base):
    """The verbs, awaited."""

    async def start(self) -> None:
        """Starts; returns when it sees itself and the others. Coroutine handlers run on this loop."""
        _logging.follow()
        self._origin.starts_here()
        await _end(self._node.start(_loop.bridge()))

    async def stop(self, drain: float = 10.0) -> None:
        """Tells the others, answers what came in, waits for what runs, ``drain`` seconds at most, and leaves.

        A second stop has no effect. From inside a handler it returns at once, and the stop happens when the handler
        has returned. Cancelling it ends everything at once.
        """
        if _handlers.is_handling(self._origin):
            self._node.stop_soon(drain)
        else:
            _process.close_the_dead()
            await _end(self._node.stop(_loop.bridge(), drain))

    async def __aenter__(self: Self) -> Self:
        await self.start()  # type: ignore[attr-defined]
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            await self.stop()
        except NotRunningError:
            pass  # A forked child leaves the block, and has nothing to stop.

    @overload
    async def call(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
        view: Literal[False] = False,
    ) -> bytes: ...

    @overload
    async def call(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
        view: Literal[True],
    ) -> memoryview: ...

    async def call(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
        view: bool = False,
    ) -> Union[bytes, memoryview]:
        """Calls an actor wherever it lives and returns the reply.

        ``timeout`` is in seconds; None is the default of 30. Inside a handler the call ends when its own caller stops
        waiting, at the latest. Raises a :class:`quark.QuarkError`. Cancelling the task gives the call up.

        A read-only ``payload`` of 16 KiB or more is not copied: what is beneath it must not change until the call has
        ended. With ``view`` the reply is a read-only memoryview, which saves its copy to ``bytes``; its memory is kept
        by it and by what is made of it, until the last is gone or released.
        """
        message = (actor_type, actor_id, method, payload, correlation_id, traceparent)
        future, begun = self._node.call(_loop.bridge(), message, timeout, view, current.get())
        try:
            reply: Union[bytes, memoryview] = await future
            return reply
        except asyncio.CancelledError:
            begun.cancel()
            raise

    @overload
    async def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: Literal[False] = False
    ) -> List[bytes]: ...

    @overload
    async def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: Literal[True]
    ) -> List[Union[bytes, QuarkError]]: ...

    async def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: bool = False
    ) -> List[Any]:
        """Makes many calls at once and returns their replies in the same order, when the last has ended.

        Each is a tuple ``(actor_type, actor_id, method)`` or ``(actor_type, actor_id, method, payload)``. Costs much
        less than a task for each. An error is raised, the first in their order, or with ``return_exceptions`` stands in
        its place. ``timeout`` is that of each; cancelling gives all of them up.
        """
        begun = self._node.call_many(_loop.bridge(), calls, timeout, current.get())
        return endings(await _end(begun), return_exceptions)

    async def notify(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
    ) -> None:
        """Sends one way: returns when the message is on its way; it is handed over at most once."""
        message = (actor_type, actor_id, method, payload, correlation_id, traceparent)
        begun = self._node.notify(_loop.bridge(), message, timeout, current.get())
        if begun is not None:
            await _end(begun)

    async def send(self, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends an envelope to whoever owns its actor and returns the response envelope."""
        response: Envelope = await _end(self._node.send(_loop.bridge(), envelope, timeout, current.get()))
        return response

    async def events(self, *, since: Optional[Iterable[SiloInfo]] = None) -> AsyncIterator[MembershipEvent]:
        """What changes in the view from now on, or since these silos were in it, until it is stopped.

        ``since=()`` begins with all that are in. The next :meth:`silos` may still show the view before.
        """
        async for event in _events(self._node, since):
            yield event


async def _events(source: Any, since: Optional[Iterable[SiloInfo]]) -> AsyncIterator[MembershipEvent]:
    version, before = source.latest_view()
    if since is not None:
        for event in events_between(since, before):
            yield event
    while True:
        try:
            version, after = await _end(source.next_view(_loop.bridge(), version))
        except NotRunningError:
            return
        for event in events_between(before, after):
            yield event
        before = after


class Silo(SiloBase, _Async):
    """A member of the cluster: hosts handlers, owns part of the ring, calls others.

    ``async def`` handlers run on the loop that started the silo, plain ``def`` handlers on worker threads. Both return
    something bytes-like (None is an empty reply) or raise, which the caller sees as ``HandlerFailedError``. Calls may
    come from any thread and any event loop. Stop it: one that is dropped ends without a word to the others, as a crash
    would, with a ``ResourceWarning``.
    """

    def ownership(self, actor_type: Optional[str] = None) -> AsyncIterator[OwnershipChange]:
        """What this silo gains and loses of an actor type's ring until it is stopped, beginning with all that it owns.

        Changes when silos come and go, and when this one has to stop serving (it is cut off, put out or leaves), which
        loses everything, and may serve again. What is lost is told when the silo has begun to refuse it or to pass it on, what is
        gained when it has begun to take it: requests may come first. Changes that come while one is looked at are told as
        one. A stop waits, as long as it drains, until the loss of everything has been looked at: until the loop asks for
        more, or has ended; so do not await the stop inside the loop.

        None is the type that this silo serves if it serves one, and the types that no silo declares if it has a handler
        for all.
        """
        return _ownership(self._node.watch_ownership(actor_type))

    async def drain(self) -> None:
        """Keeps what it has and gets nothing new, until :meth:`resume` or its stop.

        It keeps the part of the ring that it owns now. What would fall to it when others go falls to the next silo on the
        ring that does not drain; a silo that joins takes its part as always. Policies other than the ring's do not choose
        it, as long as there are others; a function for ``placement`` is shown it (``draining``) and decides. Its own view
        and calls follow when this returns; the others hear of it. A second time has no effect.

        ``InvalidArgumentError`` when it has more virtual nodes than gossip can tell of; ``MembershipUnavailableError``
        when the store cannot be told now: it is when it can.
        """
        await _end(self._node.drain(_loop.bridge()))

    async def resume(self) -> None:
        """Ends :meth:`drain`: it gets its whole part of the ring. Without one it has no effect."""
        await _end(self._node.resume(_loop.bridge()))

    async def set_virtual_nodes(self, virtual_nodes: int) -> None:
        """Gives it another weight while it runs: 1 to 100,000 points on the ring.

        Its own view and calls follow when this returns; the others hear of it. ``IncompatibleError`` for another number
        than 150 beside silos of the original Quark, or of a ``static://`` list; ``MembershipUnavailableError`` when the
        store cannot be told now: it is when it can.
        """
        await _end(self._node.set_virtual_nodes(_loop.bridge(), virtual_nodes))


async def _ownership(watch: OwnershipWatch) -> AsyncIterator[OwnershipChange]:
    while True:
        await _end(watch.ready(_loop.bridge()))
        is_over, change = watch.is_over(), watch.take()
        if change is not None:
            yield OwnershipChange(*change)
        elif is_over:
            return


class Client(ClientBase, _Async):
    """Calls actors, hosts nothing, is in no ring, sees the view."""


class Membership(MembershipBase):
    """Who is in the cluster, usable alone."""

    async def start(self, silo_id: str, endpoint: Optional[str] = None) -> int:
        """Takes part as a silo at ``endpoint``, or only looks on without one; returns the incarnation."""
        _logging.follow()
        incarnation: int = await _end(self._native.start(_loop.bridge(), silo_id, endpoint))
        return incarnation

    async def stop(self) -> None:
        """Leaves. A second stop has no effect."""
        await _end(self._native.stop(_loop.bridge()))

    async def events(self, *, since: Optional[Iterable[SiloInfo]] = None) -> AsyncIterator[MembershipEvent]:
        """What changes from now on, or since these silos were in the view; see :meth:`Silo.events`."""
        async for event in _events(self._native, since):
            yield event


class Transport(TransportBase):
    """Envelopes between two processes, usable alone; listens when it is given ``listen``."""

    async def start(self) -> None:
        """Begins to listen."""
        _logging.follow()
        self._origin.starts_here()
        await _end(self._native.start(_loop.bridge()))

    async def stop(self, drain: float = 10.0) -> None:
        """Answers what came in, ``drain`` seconds at most, and closes every link."""
        await _end(self._native.stop(_loop.bridge(), drain))

    async def connect(self, info: SiloInfo) -> None:
        """Learns where a silo is and links to it."""
        await _end(self._native.connect(_loop.bridge(), info.silo_id, info.endpoint))

    async def send(self, target: str, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends a request and returns the response envelope."""
        begun = self._native.send(_loop.bridge(), target, envelope, timeout, current.get())
        response: Envelope = await _end(begun)
        return response


for _public in (Client, Membership, Silo, Transport):  # Where they are to be had.
    _public.__module__ = "quark"
