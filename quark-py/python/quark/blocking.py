"""Silos, clients, membership and transport for programs without an event loop: the same names, without ``await``.

Usable from any thread; Ctrl-C interrupts what blocks in the main thread. Handlers are plain functions.
"""

from types import TracebackType
from typing import Any, Iterable, Iterator, List, Literal, Optional, Type, Union, overload

from . import _handlers, _logging, _process
from ._base import Base, ClientBase, MembershipBase, Self, SiloBase, TransportBase, endings
from ._errors import NotRunningError, QuarkError
from ._handlers import current
from ._quark import Envelope, OwnershipWatch
from ._types import Call, MembershipEvent, OwnershipChange, Payload, SiloInfo, events_between

__all__ = ["Client", "Membership", "Silo", "Transport"]


class _Blocking(Base):
    """The verbs, blocking."""

    def start(self) -> None:
        """Starts; returns when it sees itself and the others."""
        _logging.follow()
        self._origin.starts_here()
        self._node.start(None)

    def stop(self, drain: float = 10.0) -> None:
        """Tells the others, answers what came in, waits for what runs, ``drain`` seconds at most, and leaves.

        A second stop has no effect. From inside a handler it returns at once, and the stop happens when the handler
        has returned. Ctrl-C ends everything at once.
        """
        if _handlers.is_handling(self._origin):
            self._node.stop_soon(drain)
        else:
            _process.close_the_dead()
            self._node.stop(None, drain)

    def __enter__(self: Self) -> Self:
        self.start()  # type: ignore[attr-defined]
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            self.stop()
        except NotRunningError:
            pass  # A forked child leaves the block, and has nothing to stop.

    @overload
    def call(
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
    def call(
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

    def call(
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
        """Calls an actor wherever it lives and returns the reply; see :meth:`quark.Silo.call`."""
        message = (actor_type, actor_id, method, payload, correlation_id, traceparent)
        reply: Union[bytes, memoryview] = self._node.call(None, message, timeout, view, current.get())
        return reply

    @overload
    def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: Literal[False] = False
    ) -> List[bytes]: ...

    @overload
    def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: Literal[True]
    ) -> List[Union[bytes, QuarkError]]: ...

    def call_many(
        self, calls: Iterable[Call], *, timeout: Optional[float] = None, return_exceptions: bool = False
    ) -> List[Any]:
        """Makes many calls at once and returns their replies in the same order; see :meth:`quark.Silo.call_many`."""
        return endings(self._node.call_many(None, calls, timeout, current.get()), return_exceptions)

    def notify(
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
        """Sends one way; see :meth:`quark.Silo.notify`."""
        message = (actor_type, actor_id, method, payload, correlation_id, traceparent)
        self._node.notify(None, message, timeout, current.get())

    def send(self, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends an envelope to whoever owns its actor and returns the response envelope."""
        response: Envelope = self._node.send(None, envelope, timeout, current.get())
        return response

    def events(self, *, since: Optional[Iterable[SiloInfo]] = None) -> Iterator[MembershipEvent]:
        """What changes in the view from now on, or since these silos were in it, until it is stopped; blocks between
        changes. See :meth:`quark.Silo.events`."""
        return _events(self._node, since)


def _events(source: Any, since: Optional[Iterable[SiloInfo]]) -> Iterator[MembershipEvent]:
    # What is known now is looked up now, not at the first `next`.
    version, now = source.latest_view()
    return _changes(source, version, now, None if since is None else list(since))


def _changes(
    source: Any, version: int, before: List[SiloInfo], since: Optional[List[SiloInfo]]
) -> Iterator[MembershipEvent]:
    if since is not None:
        yield from events_between(since, before)
    while True:
        try:
            version, after = source.next_view(None, version)
        except NotRunningError:
            return
        yield from events_between(before, after)
        before = after


class Silo(SiloBase, _Blocking):
    """A member of the cluster; see :class:`quark.Silo`."""

    def ownership(self, actor_type: Optional[str] = None) -> Iterator[OwnershipChange]:
        """What this silo gains and loses, beginning with all that it owns; blocks between changes. See
        :meth:`quark.Silo.ownership`."""
        return _ownership(self._node.watch_ownership(actor_type))

    def drain(self) -> None:
        """Keeps what it has and gets nothing new, until :meth:`resume` or its stop; see :meth:`quark.Silo.drain`."""
        self._node.drain(None)

    def resume(self) -> None:
        """Ends :meth:`drain`."""
        self._node.resume(None)

    def set_virtual_nodes(self, virtual_nodes: int) -> None:
        """Gives it another weight while it runs; see :meth:`quark.Silo.set_virtual_nodes`."""
        self._node.set_virtual_nodes(None, virtual_nodes)


def _ownership(watch: OwnershipWatch) -> Iterator[OwnershipChange]:
    while True:
        watch.ready(None)
        is_over, change = watch.is_over(), watch.take()
        if change is not None:
            yield OwnershipChange(*change)
        elif is_over:
            return


class Client(ClientBase, _Blocking):
    """Calls actors and hosts nothing; see :class:`quark.Client`."""


class Membership(MembershipBase):
    """Who is in the cluster, usable alone; see :class:`quark.Membership`."""

    def start(self, silo_id: str, endpoint: Optional[str] = None) -> int:
        """Takes part as a silo at ``endpoint``, or only looks on without one; returns the incarnation."""
        _logging.follow()
        incarnation: int = self._native.start(None, silo_id, endpoint)
        return incarnation

    def stop(self) -> None:
        """Leaves. A second stop has no effect."""
        self._native.stop(None)

    def events(self, *, since: Optional[Iterable[SiloInfo]] = None) -> Iterator[MembershipEvent]:
        """What changes from now on, or since these silos were in the view; blocks between changes."""
        return _events(self._native, since)


class Transport(TransportBase):
    """Envelopes between two processes, usable alone; see :class:`quark.Transport`."""

    def start(self) -> None:
        """Begins to listen."""
        _logging.follow()
        self._origin.starts_here()
        self._native.start(None)

    def stop(self, drain: float = 10.0) -> None:
        """Answers what came in, ``drain`` seconds at most, and closes every link."""
        self._native.stop(None, drain)

    def connect(self, info: SiloInfo) -> None:
        """Learns where a silo is and links to it."""
        self._native.connect(None, info.silo_id, info.endpoint)

    def send(self, target: str, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends a request and returns the response envelope."""
        response: Envelope = self._native.send(None, target, envelope, timeout, current.get())
        return response
