"""The rings of a view: one for each set of silos that serve the same actor types; and what they would be."""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from .._quark import HashRing
from .._types import SiloInfo, SiloStatus


class Changes(NamedTuple):
    """What might happen, all of it at once."""

    #: Silos that join and serve every type, with their virtual nodes.
    joining: Mapping[str, int] = {}
    leaving: Sequence[str] = ()
    #: Silos that get another number of virtual nodes.
    weights: Mapping[str, int] = {}

    @property
    def are_some(self) -> bool:
        """Whether anything happens."""
        return bool(self.joining or self.leaving or self.weights)

    def made_to(self, silos: Mapping[str, int]) -> Dict[str, int]:
        """The silos of a ring afterwards."""
        stay = {silo: self.weights.get(silo, number) for silo, number in silos.items() if silo not in self.leaving}
        return {**stay, **self.joining}


class Ring(NamedTuple):
    """The ring of some actor types."""

    #: Those that some silo declares; of None it is the ring of all that nobody declares.
    types: Optional[Tuple[str, ...]]
    now: HashRing
    #: The same ring after the changes.
    after: HashRing

    def moved(self) -> Tuple[Dict[str, float], Dict[str, float], float]:
        """The part of all keys that each silo gives, that each gets, and that moves."""
        gives: Dict[str, float] = {}
        gets: Dict[str, float] = {}
        moves = self.now.moves(self.after)
        for (giver, taker), part in moves.items():
            if giver is not None:
                gives[giver] = gives.get(giver, 0) + part
            if taker is not None:
                gets[taker] = gets.get(taker, 0) + part
        return gives, gets, sum(moves.values())

    def ids(self) -> List[str]:
        """All silos that it has or would have, in bytewise order."""
        ids: Set[str] = {*self.now.silos, *self.after.silos}
        return sorted(ids, key=str.encode)


class Rings:
    """All rings, now and after the changes."""

    def __init__(self, silos: Iterable[SiloInfo], changes: Changes) -> None:
        self._active = [silo for silo in silos if silo.status == SiloStatus.ACTIVE]
        self._changes = changes
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

    def name(self, ring: Ring) -> str:
        """What a ring is called."""
        if ring.types is not None:
            return "ring of " + ", ".join(ring.types)
        return "ring of all other types" if self.declared else "ring of all types"

    def is_of(self, ring: Ring, actor_type: str) -> bool:
        """Whether a ring is that of a type."""
        return actor_type not in self.declared if ring.types is None else actor_type in ring.types

    def _serving(self, actor_type: Optional[str]) -> Sequence[SiloInfo]:
        return [silo for silo in self._active if silo.actor_types is None or actor_type in silo.actor_types]

    def _ring(self, types: Optional[Tuple[str, ...]], actor_type: Optional[str]) -> Ring:
        silos = {silo.silo_id: silo.virtual_nodes for silo in self._serving(actor_type)}
        if tuple(silos) not in self._made:
            now = _ring_of(silos)
            self._made[tuple(silos)] = now, _ring_of(self._changes.made_to(silos)) if self._changes.are_some else now
        return Ring(types, *self._made[tuple(silos)])


def _ring_of(silos: Mapping[str, int]) -> HashRing:
    ring = HashRing()
    for silo_id, virtual_nodes in silos.items():
        ring.add(silo_id, virtual_nodes)
    return ring
