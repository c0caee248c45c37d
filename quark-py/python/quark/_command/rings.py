"""The rings of a view: one for each set of silos that serve the same actor types."""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

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
    """All rings, now and when some silos have joined, which serve every type."""

    def __init__(self, silos: Iterable[SiloInfo], joining: Mapping[str, int]) -> None:
        self._active = [silo for silo in silos if silo.status == SiloStatus.ACTIVE]
        self._joining = joining
        self._made: Dict[Tuple[str, ...], Tuple[HashRing, HashRing]] = {}
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
        if tuple(silos) not in self._made:
            now = _ring_of(silos)
            self._made[tuple(silos)] = now, _ring_of({**silos, **self._joining}) if self._joining else now
        return Ring(types, *self._made[tuple(silos)])


def _ring_of(silos: Mapping[str, int]) -> HashRing:
    ring = HashRing()
    for silo_id, virtual_nodes in silos.items():
        ring.add(silo_id, virtual_nodes)
    return ring
