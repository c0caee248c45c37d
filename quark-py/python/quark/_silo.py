"""Silos, clients, membership and transport for asyncio."""

import asyncio
from types import TracebackType
from typing import Any, AsyncIterator, Callable, List, Mapping, Optional, Type, TypeVar, Union

from . import _handlers, _logging, _loop, _quark
from ._errors import NotRunningError
from ._quark import Envelope, Request
from ._types import Health, MembershipEvent, SiloInfo, _health, events_between

Handler = Callable[[Request], Any]
Payload = Union[bytes, bytearray, memoryview]
Self = TypeVar("Self", bound="Base")


class Base:
    """What asyncio and blocking silos and clients share: all that does not wait."""

    _node: _quark.Node
    _origin: _handlers.Origin

    def owner(self, actor_type: str, actor_id: str) -> Optional[str]:
        """The silo that owns an actor on the ring, or None when nobody serves its type."""
        return self._node.owner(actor_type, actor_id)

    def silos(self) -> List[SiloInfo]:
        """The silos of the current view, sorted by id."""
        return self._node.silos()

    @property
    def view_version(self) -> int:
        """The version of the current view; it grows with each change."""
        return self._node.view_version()

    @property
    def health(self) -> Health:
        """How it fares: healthy, degraded (which part, since when) or isolated. Never waits."""
        return _health(*self._node.health())

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not stopped, in this process."""
        return self._node.is_running


class SiloBase(Base):
    """What a silo has beyond a client."""

    def __init__(
        self,
        silo_id: str,
        *,
        membership: str,
        handler: Optional[Handler] = None,
        handlers: Optional[Mapping[str, Handler]] = None,
        listen: str = "127.0.0.1:0",
        advertise: Optional[str] = None,
        cluster: str = "quark",
        placement: Optional[Mapping[str, str]] = None,
        virtual_nodes: int = 150,
        default_timeout: Optional[float] = None,
        max_payload: Optional[int] = None,
        inbox_capacity: Optional[int] = None,
        inbox_bytes: Optional[int] = None,
        outbox_capacity: Optional[int] = None,
        max_pending: Optional[int] = None,
        answer_capacity: Optional[int] = None,
        handler_threads: Optional[int] = None,
        allow_plaintext: bool = False,
        zone: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
        ttl: Optional[float] = None,
        heartbeat: Optional[float] = None,
        start_timeout: Optional[float] = None,
    ) -> None:
        """Describes a silo; :meth:`start` starts it.

        ``membership`` is one of ``redis://…``, ``gossip://…``, ``static://…`` and ``memory://…``. ``handlers`` has a
        function for each actor type; a silo with these only owns no actor of another type. ``handler`` gets all other
        types. Durations are in seconds, sizes in bytes. ``placement`` names a policy for an actor type:
        ``consistent-hash``, ``random``, ``prefer-local`` or ``stateless-worker``. ``handler_threads`` (default 4) are
        for each plain function; an actor always has the same one, and one that never returns keeps it.

        A handler may have ``inbox_capacity`` requests (65,536) of ``inbox_bytes`` (256 MiB) at once; more are refused
        with :class:`quark.OverloadedError`, and so are those of a peer that lets more than ``answer_capacity`` (64 MiB)
        of answers wait. Calls beyond ``max_pending`` (262,144), or beyond ``outbox_capacity`` to one silo (16,384, each
        KiB of payload counting as one more), wait until their deadline.
        """
        options = {
            "membership": membership,
            "listen": listen,
            "advertise": advertise,
            "cluster": cluster,
            "placement": _plain_dict(placement),
            "virtual_nodes": virtual_nodes,
            "default_timeout": default_timeout,
            "max_payload": max_payload,
            "inbox_capacity": inbox_capacity,
            "inbox_bytes": inbox_bytes,
            "outbox_capacity": outbox_capacity,
            "max_pending": max_pending,
            "answer_capacity": answer_capacity,
            "handler_threads": handler_threads,
            "allow_plaintext": allow_plaintext,
            "zone": zone,
            "labels": _plain_dict(labels),
            "ttl": ttl,
            "heartbeat": heartbeat,
            "start_timeout": start_timeout,
        }
        self._origin = _handlers.Origin()
        self._node = _quark.Node(silo_id, options, _handlers.native(handler, handlers, self._origin))
        _loop.nodes.add(self._node)

    @property
    def silo_id(self) -> str:
        """Its id."""
        return self._node.id

    @property
    def endpoint(self) -> str:
        """Where others dial it, ``host:port``, with the real port."""
        return self._node.endpoint

    def __repr__(self) -> str:
        state = f"at {self.endpoint}" if self.is_running else "not running"
        return f"<{type(self).__module__}.{type(self).__name__} {self.silo_id!r} {state}>"


class ClientBase(Base):
    """What a client has beyond what all have."""

    def __init__(
        self,
        *,
        membership: str,
        cluster: str = "quark",
        placement: Optional[Mapping[str, str]] = None,
        default_timeout: Optional[float] = None,
        max_payload: Optional[int] = None,
        outbox_capacity: Optional[int] = None,
        max_pending: Optional[int] = None,
        start_timeout: Optional[float] = None,
    ) -> None:
        """Describes a client, which calls actors and hosts nothing; :meth:`start` starts it."""
        options = {
            "membership": membership,
            "cluster": cluster,
            "placement": _plain_dict(placement),
            "default_timeout": default_timeout,
            "max_payload": max_payload,
            "outbox_capacity": outbox_capacity,
            "max_pending": max_pending,
            "start_timeout": start_timeout,
        }
        self._origin = _handlers.Origin()
        self._node = _quark.Node(None, options, [])
        _loop.nodes.add(self._node)

    @property
    def client_id(self) -> str:
        """Its id, ``client:…``, of its own making."""
        return self._node.id

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        return f"<{type(self).__module__}.{type(self).__name__} {self.client_id!r} {state}>"


def _plain_dict(mapping: Any) -> Any:
    return dict(mapping) if isinstance(mapping, Mapping) else mapping


class _Async(Base):
    """The verbs, awaited."""

    async def start(self) -> None:
        """Starts; returns when it sees itself and the others. Coroutine handlers run on this loop."""
        _logging.follow()
        self._origin.starts_here()
        await self._node.start(_loop.bridge())

    async def stop(self, drain: float = 10.0) -> None:
        """Tells the others, answers what came in, waits for what runs, ``drain`` seconds at most, and leaves.

        A second stop has no effect. From inside a handler it returns at once, and the stop happens when the handler
        has returned.
        """
        if _handlers.handling.get():
            self._node.stop_soon(drain)
        else:
            await self._node.stop(_loop.bridge(), drain)

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
    ) -> bytes:
        """Calls an actor wherever it lives and returns the reply.

        ``timeout`` is in seconds; None is the default of 30. Raises a :class:`quark.QuarkError`. Cancelling the task
        gives the call up.
        """
        context = _context(correlation_id, traceparent)
        future, handle = self._node.call(
            _loop.bridge(), actor_type, actor_id, method, payload, timeout, context
        )
        try:
            return await future
        except asyncio.CancelledError:
            handle.cancel()
            raise

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
        context = _context(correlation_id, traceparent)
        await self._node.notify(_loop.bridge(), actor_type, actor_id, method, payload, timeout, context)

    async def send(self, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends an envelope to whoever owns its actor and returns the response envelope."""
        response: Envelope = await self._node.send(_loop.bridge(), envelope, timeout)
        return response

    async def events(self) -> AsyncIterator[MembershipEvent]:
        """What changes in the view from now on, until it is stopped."""
        async for event in _events(self._node):
            yield event


def _context(correlation_id: Optional[str], traceparent: Optional[str]) -> Any:
    if correlation_id is None and traceparent is None:
        return _handlers.inherited.get()
    outer_correlation, outer_trace = _handlers.inherited.get()
    return (
        outer_correlation if correlation_id is None else correlation_id,
        outer_trace if traceparent is None else traceparent,
    )


async def _events(source: Any) -> AsyncIterator[MembershipEvent]:
    version, before = source.view_version(), source.silos()
    while True:
        try:
            version = await source.next_view(_loop.bridge(), version)
        except NotRunningError:
            return
        after = source.silos()
        for event in events_between(before, after):
            yield event
        before = after


class Silo(SiloBase, _Async):
    """A member of the cluster: hosts handlers, owns part of the ring, calls others.

    ``async def`` handlers run on the loop that started the silo, plain ``def`` handlers on worker threads. Both return
    something bytes-like (None is an empty reply) or raise, which the caller sees as ``HandlerFailedError``.
    """


class Client(ClientBase, _Async):
    """Calls actors, hosts nothing, is in no ring, sees the view."""


class Membership:
    """Who is in the cluster, usable alone."""

    def __init__(
        self,
        url: str,
        *,
        cluster: str = "quark",
        ttl: Optional[float] = None,
        heartbeat: Optional[float] = None,
        start_timeout: Optional[float] = None,
    ) -> None:
        options = {"cluster": cluster, "ttl": ttl, "heartbeat": heartbeat, "start_timeout": start_timeout}
        self._native = _quark.Membership(url, options)

    async def start(self, silo_id: str, endpoint: Optional[str] = None) -> int:
        """Takes part as a silo at ``endpoint``, or only looks on without one; returns the incarnation."""
        _logging.follow()
        incarnation: int = await self._native.start(_loop.bridge(), silo_id, endpoint)
        return incarnation

    async def stop(self) -> None:
        """Leaves. A second stop has no effect."""
        await self._native.stop(_loop.bridge())

    def silos(self) -> List[SiloInfo]:
        """The silos of the current view, sorted by id."""
        return self._native.silos()

    def silo(self, silo_id: str) -> Optional[SiloInfo]:
        """One silo of the current view."""
        return next((silo for silo in self.silos() if silo.silo_id == silo_id), None)

    def owner(self, actor_type: str, actor_id: str) -> Optional[str]:
        """The owner of an actor in the current view."""
        return self._native.owner(actor_type, actor_id)

    @property
    def view_version(self) -> int:
        """The version of the current view."""
        return self._native.view_version()

    async def events(self) -> AsyncIterator[MembershipEvent]:
        """What changes from now on."""
        async for event in _events(self._native):
            yield event


class Transport:
    """Envelopes between two processes, usable alone; listens when it is given ``listen``."""

    def __init__(
        self,
        silo_id: str,
        *,
        handler: Handler,
        listen: Optional[str] = None,
        cluster: str = "quark",
        max_payload: Optional[int] = None,
    ) -> None:
        options = {"listen": listen, "cluster": cluster, "max_payload": max_payload}
        self._origin = _handlers.Origin()
        self._native = _quark.Transport(silo_id, options, *_handlers.wrap(handler, self._origin))

    async def start(self) -> None:
        """Begins to listen."""
        _logging.follow()
        self._origin.starts_here()
        await self._native.start(_loop.bridge())

    async def stop(self, drain: float = 10.0) -> None:
        """Answers what came in, ``drain`` seconds at most, and closes every link."""
        await self._native.stop(_loop.bridge(), drain)

    async def connect(self, info: SiloInfo) -> None:
        """Learns where a silo is and links to it."""
        await self._native.connect(_loop.bridge(), info.silo_id, info.endpoint)

    def disconnect(self, silo_id: str) -> None:
        """Forgets a silo."""
        self._native.disconnect(silo_id)

    async def send(self, target: str, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends a request and returns the response envelope."""
        response: Envelope = await self._native.send(_loop.bridge(), target, envelope, timeout)
        return response

    @property
    def local_silo_id(self) -> str:
        """This end's id."""
        return self._native.local_silo_id

    @property
    def local_endpoint(self) -> Optional[str]:
        """Where it listens, with the real port."""
        return self._native.local_endpoint
