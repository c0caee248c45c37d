"""What asyncio and blocking programs share: descriptions of silos, clients, membership and transport, and all that does
not wait. The verbs that wait are in ``_aio`` and ``blocking``, over the same native functions."""

import warnings
from typing import Any, Callable, List, Mapping, Optional, TypeVar, Union

from . import _handlers, _process, _quark
from ._errors import QuarkError
from ._placement import Placement
from ._quark import Request
from ._types import Credentials, Explanation, Health, SiloInfo, Tls, _health

Handler = Callable[[Request], Any]
Self = TypeVar("Self", bound="Base")


class Base:
    """A silo or a client."""

    _node: _quark.Node
    _origin: _handlers.Origin

    def owner(self, actor_type: str, actor_id: str) -> Optional[str]:
        """The silo that owns an actor on the ring, or None when nobody serves its type."""
        return self._node.owner(actor_type, actor_id)

    def explain(self, actor_type: str, actor_id: str) -> Explanation:
        """Where an actor belongs by the current view, and where it would go. Never waits."""
        return Explanation(actor_type, actor_id, *self._node.explain(actor_type, actor_id))

    def ring(self, actor_type: str) -> _quark.HashRing:
        """The ring of an actor type in the current view: the silos that own its actors. A copy."""
        return self._node.ring(actor_type)

    def next_owners(self, actor_type: str, actor_id: str, most: int = 3) -> List[str]:
        """Who would own an actor if its owner went, then if that one went too, and so on: ``most`` silos at most, in the
        order of the ring, whatever their zones. Silos that drain come last, but for those that keep this actor."""
        return self._node.next_owners(actor_type, actor_id, most)

    def successors(self, actor_type: str, actor_id: str, most: int = 3) -> List[str]:
        """The owner of an actor, then the silos after it on the ring, ``most`` at most, spread over zones: first one of
        each zone that is not among them yet (silos without a zone count as one), then the others.

        For copies of what the owner keeps; who owns the actor when the owner goes says :meth:`next_owners`. Of the silos
        that drain only the owner is among them.
        """
        return self._node.successors(actor_type, actor_id, most)

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

    def __del__(self) -> None:
        node = getattr(self, "_node", None)
        if node is not None and node.is_running and not _quark.is_ending():
            warnings.warn(f"{self!r} was dropped without stop", ResourceWarning, source=self)
            node.abort()


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
        placement: Optional[Mapping[str, Placement]] = None,
        virtual_nodes: int = 150,
        default_timeout: Optional[float] = None,
        max_payload: Optional[int] = None,
        inbox_capacity: Optional[int] = None,
        inbox_bytes: Optional[int] = None,
        outbox_capacity: Optional[int] = None,
        max_pending: Optional[int] = None,
        answer_capacity: Optional[int] = None,
        max_metadata: Optional[int] = None,
        max_streams: Optional[int] = None,
        connection_window: Optional[int] = None,
        max_links_per_peer: Optional[int] = None,
        max_connections: Optional[int] = None,
        max_connections_per_address: Optional[int] = None,
        handshake_timeout: Optional[float] = None,
        handler_threads: Optional[int] = None,
        transport: str = "http2",
        tls: Optional[Tls] = None,
        anonymous_clients: bool = False,
        allow_plaintext: bool = False,
        zone: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
        ttl: Optional[float] = None,
        heartbeat: Optional[float] = None,
        start_timeout: Optional[float] = None,
        redis_credentials: Optional[Credentials] = None,
    ) -> None:
        """Describes a silo; :meth:`start` starts it.

        ``membership`` is one of ``redis://…``, ``gossip://…``, ``static://…`` and ``memory://…``. ``handlers`` has a
        function for each actor type; a silo with these only owns no actor of another type. ``handler`` gets all other
        types. Durations are in seconds, sizes in bytes. ``handler_threads`` (default 4) are for each plain function; an actor
        always has the same one, and one that never returns keeps it.

        ``placement`` names a policy for an actor type: ``consistent-hash``, ``random``, ``prefer-local`` or
        ``stateless-worker`` (in turn, those of the own ``zone`` if there are any); or it is a function
        ``choose(actor_type, actor_id, silos, local)`` that gives the id of one of ``silos``, which serve the type, or None.
        It is asked inside each call, on the thread that calls (what had not been sent when its silo went: once more, on
        another). It should be quick, may ask for owners and silos, and cannot make calls. None ends the call with
        :class:`quark.NoSiloError`, and so does a silo that is not there; an exception with
        :class:`quark.InvalidArgumentError`, whose rest is in the log.

        A handler may have ``inbox_capacity`` requests (65,536) of ``inbox_bytes`` (256 MiB) at once; more are refused
        with :class:`quark.OverloadedError`, and so are those of a peer that lets more than ``answer_capacity`` (64 MiB)
        of answers wait. Calls beyond ``max_pending`` (262,144), or beyond ``outbox_capacity`` to one silo (16,384, each
        KiB of payload counting as one more), wait until their deadline.

        ``transport`` is ``http2``, ``http3`` or ``http2+http3``: which networks to listen on and to dial by. HTTP/3 needs
        ``tls``, and listens on UDP at the number of the listening port.

        ``redis_credentials`` is asked for the password, or for the user and the password, before each connection to a Redis whose
        URL has none, on a thread where it may wait.

        With ``tls`` nothing is spoken without it, and ``anonymous_clients`` lets in clients that show no certificate. Without,
        ``allow_plaintext`` is needed to listen, dial or gossip beyond this machine.

        What strangers may do: there may be ``max_connections`` (10,000) to this silo, ``max_connections_per_address``
        (1,000) of them from one address, each with ``max_streams`` (32) of at most ``max_metadata`` bytes of headers (16
        KiB) and ``connection_window`` bytes on their way (64 MiB, a sixteenth of it for a stream); one that asks for nothing
        within ``handshake_timeout`` (5 s) is closed. One silo may have ``max_links_per_peer`` (8).
        """
        _must_be_text("silo_id", silo_id)
        _must_be_text("membership", membership)
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
            "max_metadata": max_metadata,
            "max_streams": max_streams,
            "connection_window": connection_window,
            "max_links_per_peer": max_links_per_peer,
            "max_connections": max_connections,
            "max_connections_per_address": max_connections_per_address,
            "handshake_timeout": handshake_timeout,
            "handler_threads": handler_threads,
            "transport": transport,
            "tls": tls,
            "anonymous_clients": anonymous_clients,
            "allow_plaintext": allow_plaintext,
            "zone": zone,
            "labels": _plain_dict(labels),
            "ttl": ttl,
            "heartbeat": heartbeat,
            "start_timeout": start_timeout,
            "redis_credentials": redis_credentials,
        }
        self._origin = _handlers.Origin()
        self._node = _quark.Node(silo_id, options, _handlers.native(handler, handlers, self._origin))
        _process.nodes.add(self._node)

    def owns(self, actor_type: str, actor_id: str) -> bool:
        """Whether this silo owns an actor by its current view and serves it.

        Not while it is cut off, was put out or cannot be sure, and not when it leaves or has stopped. Never waits.
        """
        return self._node.owns(actor_type, actor_id)

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
        placement: Optional[Mapping[str, Placement]] = None,
        zone: Optional[str] = None,
        default_timeout: Optional[float] = None,
        max_payload: Optional[int] = None,
        outbox_capacity: Optional[int] = None,
        max_pending: Optional[int] = None,
        start_timeout: Optional[float] = None,
        redis_credentials: Optional[Credentials] = None,
        transport: str = "http2",
        tls: Optional[Tls] = None,
        allow_plaintext: bool = False,
    ) -> None:
        """Describes a client, which calls actors and hosts nothing; :meth:`start` starts it.

        The options are those of a silo. Its ``zone`` is the one whose silos ``stateless-worker`` prefers.
        """
        _must_be_text("membership", membership)
        options = {
            "membership": membership,
            "cluster": cluster,
            "placement": _plain_dict(placement),
            "zone": zone,
            "default_timeout": default_timeout,
            "max_payload": max_payload,
            "outbox_capacity": outbox_capacity,
            "max_pending": max_pending,
            "start_timeout": start_timeout,
            "redis_credentials": redis_credentials,
            "transport": transport,
            "tls": tls,
            "allow_plaintext": allow_plaintext,
        }
        self._origin = _handlers.Origin()
        self._node = _quark.Node(None, options, [])
        _process.nodes.add(self._node)

    @property
    def client_id(self) -> str:
        """Its id, ``client:…``, of its own making."""
        return self._node.id

    def __repr__(self) -> str:
        state = "running" if self.is_running else "not running"
        return f"<{type(self).__module__}.{type(self).__name__} {self.client_id!r} {state}>"


def _must_be_text(name: str, value: Any) -> None:
    """None, which an unset variable of the environment is, must not pass for an option that was left out."""
    if not isinstance(value, str):
        raise TypeError(f"{name}={value!r}: must be str, not {type(value).__name__}")


def _plain_dict(mapping: Any) -> Any:
    return dict(mapping) if isinstance(mapping, Mapping) else mapping


class MembershipBase:
    """Who is in the cluster, usable alone."""

    def __init__(
        self,
        url: str,
        *,
        cluster: str = "quark",
        ttl: Optional[float] = None,
        heartbeat: Optional[float] = None,
        start_timeout: Optional[float] = None,
        redis_credentials: Optional[Credentials] = None,
        allow_plaintext: bool = False,
    ) -> None:
        options = {
            "cluster": cluster,
            "ttl": ttl,
            "heartbeat": heartbeat,
            "start_timeout": start_timeout,
            "redis_credentials": redis_credentials,
            "allow_plaintext": allow_plaintext,
        }
        self._native = _quark.Membership(url, options)

    def silos(self) -> List[SiloInfo]:
        """The silos of the current view, sorted by id."""
        return self._native.silos()

    def silo(self, silo_id: str) -> Optional[SiloInfo]:
        """One silo of the current view."""
        return next((silo for silo in self.silos() if silo.silo_id == silo_id), None)

    def owner(self, actor_type: str, actor_id: str) -> Optional[str]:
        """The owner of an actor in the current view."""
        return self._native.owner(actor_type, actor_id)

    def ring(self, actor_type: str) -> _quark.HashRing:
        """The ring of an actor type in the current view. A copy."""
        return self._native.ring(actor_type)

    @property
    def view_version(self) -> int:
        """The version of the current view."""
        return self._native.view_version()


class TransportBase:
    """Envelopes between two processes, usable alone; listens when it is given ``listen``."""

    def __init__(
        self,
        silo_id: str,
        *,
        handler: Handler,
        listen: Optional[str] = None,
        cluster: str = "quark",
        max_payload: Optional[int] = None,
        transport: str = "http2",
        tls: Optional[Tls] = None,
        anonymous_clients: bool = False,
        allow_plaintext: bool = False,
    ) -> None:
        options = {
            "listen": listen,
            "cluster": cluster,
            "max_payload": max_payload,
            "transport": transport,
            "tls": tls,
            "anonymous_clients": anonymous_clients,
            "allow_plaintext": allow_plaintext,
        }
        self._origin = _handlers.Origin()
        self._native = _quark.Transport(silo_id, options, *_handlers.wrap(handler, self._origin))

    def disconnect(self, silo_id: str) -> None:
        """Forgets a silo."""
        self._native.disconnect(silo_id)

    @property
    def local_silo_id(self) -> str:
        """This end's id."""
        return self._native.local_silo_id

    @property
    def local_endpoint(self) -> Optional[str]:
        """Where it listens, with the real port."""
        return self._native.local_endpoint


def endings(ended: List[Union[bytes, QuarkError]], return_exceptions: bool) -> List[Any]:
    """What ``call_many`` returns: in the order of the calls; the first error is raised unless errors are asked for."""
    if not return_exceptions:
        for ending in ended:
            if isinstance(ending, QuarkError):
                raise ending
    return ended
