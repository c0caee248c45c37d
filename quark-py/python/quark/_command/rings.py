"""The rings of a view: one for each set of silos that serve the same actor types."""

from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from .._quark import HashRing
from .._types import SiloInfo, SiloStatus


class Ring(NamedTuple):
    """The ring of some actor types."""

    #: Those that some silo declares; of None it is the ring of all that nobody declares.
    types: Optional[Tuple[str, ...]]
    now: HashRing
    #: The same ring when the joining silos are in.
    joined: HashRing


class Rings:
    """All rings, now and when some silos have joined, which serve every type.

    ``in_view`` gives the ring of a type in a view, where some silos may drain; without it the silos are only thought of.
    """

    def __init__(
        self,
        silos: Iterable[SiloInfo],
        joining: Mapping[str, int],
        in_view: Optional[Callable[[str], HashRing]] = None,
    ) -> None:
        self._active = [silo for silo in silos if silo.status == SiloStatus.ACTIVE]
        self._joining = joining
        self._in_view = in_view
        self._made: Dict[Tuple[Optional[str], Tuple[str, ...]], Tuple[HashRing, HashRing]] = {}
        self.declared = sorted({name for silo in self._active for name in silo.actor_types or ()})

    def of_type(self, actor_type: str) -> Ring:
        """The ring of one type."""
        return self._ring((actor_type,), actor_type)

    def all(self) -> List[Ring]:
        """Every ring that differs from the others, with the types it is for."""
        alike: Dict[Tuple[str, ...], List[str]] = {}
        for name in self.declared:
            alike.setdefault(tuple(silo.silo_id for silo in self._serving(name)), []).append(name)
        rings = [self._ring(tuple(names), names[0]) for names in alike.values()]
        if self._serving(None) or not rings:
            rings.append(self._ring(None, None))
        return rings

    def _serving(self, actor_type: Optional[str]) -> Sequence[SiloInfo]:
        return [silo for silo in self._active if silo.actor_types is None or actor_type in silo.actor_types]

    def _ring(self, types: Optional[Tuple[str, ...]], actor_type: Optional[str]) -> Ring:
        silos = {silo.silo_id: silo.virtual_nodes for silo in self._serving(actor_type)}
        # Of two types that the same silos serve a draining one may keep different parts.
        key = (actor_type if any(silo.draining for silo in self._active) else None, tuple(silos))
        if key not in self._made:
            now = self._now(actor_type, silos)
            joined = _with(self._now(actor_type, silos), self._joining) if self._joining else now
            self._made[key] = now, joined
        return Ring(types, *self._made[key])

    def _now(self, actor_type: Optional[str], silos: Mapping[str, int]) -> HashRing:
        # No type is called "": its ring is that of all that nobody declares.
        return _with(HashRing(), silos) if self._in_view is None else self._in_view(actor_type or "")


def _with(ring: HashRing, silos: Mapping[str, int]) -> HashRing:
    for silo_id, virtual_nodes in silos.items():
        ring.add(silo_id, virtual_nodes)
    return ring
