"""Values: silos as others see them, and what changes among them."""

import enum
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, Literal, Mapping, Optional, Protocol, Tuple, Union, cast

from ._quark import HashRanges

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Anything with the buffer protocol: ``bytes``, ``bytearray``, ``memoryview``, ``array``, ``mmap``, a NumPy array.
Payload = Union[bytes, bytearray, memoryview, "Buffer"]
class ArrowArray(Protocol):
    """A column of Arrow's, in one piece."""

    def __arrow_c_array__(self, requested_schema: Optional[object] = None, /) -> Tuple[object, object]: ...


class ArrowStream(Protocol):
    """A column of Arrow's, in pieces."""

    def __arrow_c_stream__(self, requested_schema: Optional[object] = None, /) -> object: ...


#: Many strings: an iterable of them, a column of Arrow's (of type utf8, large_utf8 or string_view), an array of NumPy's.
Strings = Union[Iterable[str], ArrowArray, ArrowStream]
#: One of the calls of ``call_many``: actor type, actor id, method, and the payload unless it is empty.
Call = Union[Tuple[str, str, str], Tuple[str, str, str, Payload]]


#: Gives a password for Redis, or a user (None for the default one) and a password.
Credentials = Callable[[], Union[str, Tuple[Optional[str], str]]]


@dataclass(frozen=True)
class Tls:
    """Certificates, from PEM files: who a silo or client is, and whom it trusts.

    The files are looked at again when a link is made, at most once a second: replaced files are taken without a restart,
    and links that are there go on.
    """

    #: The authorities whose certificates are trusted.
    authority: Union[str, "os.PathLike[str]"]
    #: The own certificate, and then those between it and the authority's, if any. A silo's names it by a URI,
    #: ``quark://<cluster>/silo/<id>``. None for a client of a cluster with ``anonymous_clients``.
    certificate: Union[str, "os.PathLike[str]", None] = None
    #: The certificate's private key.
    key: Union[str, "os.PathLike[str]", None] = None


class SiloStatus(enum.IntEnum):
    """Where a silo stands in its life."""

    JOINING = 0
    ACTIVE = 1
    SHUTTING_DOWN = 2
    DEAD = 3


@dataclass(frozen=True)
class SiloInfo:
    """One silo as the others see it."""

    silo_id: str
    #: ``host:port`` of its transport, IPv6 in brackets.
    endpoint: str
    status: SiloStatus = SiloStatus.ACTIVE
    #: Which life of the id this is; higher is later.
    incarnation: int = 0
    #: Points on the ring; its weight.
    virtual_nodes: int = 150
    #: The actor types it serves; None serves all.
    actor_types: Optional[Tuple[str, ...]] = None
    zone: Optional[str] = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    #: The protocol it speaks; None for a silo of the original Quark.
    protocol_version: Optional[int] = None
    #: It keeps what it has and gets nothing new.
    draining: bool = False


def _silo_info(
    silo_id: str,
    endpoint: str,
    status: int,
    incarnation: int,
    virtual_nodes: int,
    actor_types: Optional[List[str]],
    zone: Optional[str],
    labels: Dict[str, str],
    protocol_version: Optional[int],
    draining: bool,
) -> SiloInfo:
    types = None if actor_types is None else tuple(actor_types)
    return SiloInfo(
        silo_id, endpoint, SiloStatus(status), incarnation, virtual_nodes, types, zone, labels, protocol_version, draining
    )


@dataclass(frozen=True)
class Health:
    """How a silo or client fares."""

    #: ``isolated``: cut off from the store and from most others; it owns nothing until that is over.
    status: Literal["healthy", "degraded", "isolated"]
    #: What does not work, when it is degraded: ``membership store``.
    part: Optional[str] = None
    #: What that says.
    reason: Optional[str] = None
    #: When that began, UTC; None when it is healthy.
    since: Optional[datetime] = None

    def __bool__(self) -> bool:
        return self.status == "healthy"


def _health(status: str, part: Optional[str], reason: Optional[str], since: Optional[float]) -> Health:
    began = None if since is None else datetime.fromtimestamp(since, timezone.utc)
    return Health(cast(Any, status), part, reason, began)


@dataclass(frozen=True)
class MembershipEvent:
    """A silo came in, went out, or changed."""

    kind: Literal["joined", "left", "updated"]
    silo: SiloInfo


@dataclass(frozen=True)
class OwnershipChange:
    """What a silo lost and gained of the ring.

    First give up what is lost, then take what is gained: what was lost and came back, perhaps after another silo had owned
    it, is in both.
    """

    #: The version of the view at which it stands.
    view_version: int
    #: What it owned when the host heard last, and did not at some time since.
    lost: HashRanges
    #: What it owns now and did not when the host heard last, or did not at some time since.
    gained: HashRanges
    #: All that it owns now.
    owned: HashRanges


@dataclass(frozen=True)
class Explanation:
    """Where an actor belongs by one view, and where it would go."""

    actor_type: str
    actor_id: str
    #: The actor's position on the ring.
    position: int
    #: The version of the view that all of this is by.
    view_version: int
    #: The silo that owns the actor, with its endpoint and its zone; None when nobody serves its type.
    owner: Optional[SiloInfo]
    #: Who owns it when the owner goes, who when that one goes too, and so on: three at most.
    next_owners: Tuple[SiloInfo, ...]
    #: How many silos serve its type.
    serving: int
    #: Whether the asked silo is the owner and serves.
    is_owned_here: bool
    #: Whether calls from the asked silo go to the owner: the type is placed by the ring alone.
    is_placed_by_ring: bool


def events_between(before: Iterable[SiloInfo], after: Iterable[SiloInfo]) -> List[MembershipEvent]:
    """What changed from one view to another."""
    old = {silo.silo_id: silo for silo in before}
    new = {silo.silo_id: silo for silo in after}
    events = [MembershipEvent("left", silo) for silo_id, silo in old.items() if silo_id not in new]
    for silo_id, silo in new.items():
        if silo_id not in old:
            events.append(MembershipEvent("joined", silo))
        elif silo != old[silo_id]:
            events.append(MembershipEvent("updated", silo))
    return events
