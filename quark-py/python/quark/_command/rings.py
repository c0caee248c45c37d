"""The rings of a view: one for each set of silos that serve the same actor types; and what they would be."""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

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

    def made_to(self, ring: HashRing) -> HashRing:
        """Changes a ring, where some of those who change may not be, and gives it back."""
        for silo_id in self.leaving:
            ring.remove(silo_id)
        for silo_id, number in self.weights.items():
            ring.set_virtual_nodes(silo_id, number)
        for silo_id, number in self.joining.items():
            ring.add(silo_id, number)
        return ring


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
    """All rings, now and after the changes.

    ``in_view`` gives a copy of the ring of a type in a view, where some silos may drain; without it the silos are only
    thought of.
    """

    def __init__(
        self, silos: Sequence[SiloInfo], changes: Changes, in_view: Optional[Callable[[str], HashRing]] = None
    ) -> None:
        active = [silo for silo in silos if silo.status == SiloStatus.ACTIVE]
        self._changes = changes
        self._in_view = in_view or (lambda actor_type: _ring_of(active))
        self._made: List[Tuple[HashRing, HashRing]] = []
        self.declared = sorted({name for silo in active for name in silo.actor_types or ()})

    def of_type(self, actor_type: str) -> Ring:
        """The ring of one type."""
        return Ring((actor_type,), *self._now_and_after(actor_type))

    def all(self) -> List[Ring]:
        """Every ring that differs from the others, with the types it is for."""
        rings: List[Ring] = []
        for name in self.declared:
            now, after = self._now_and_after(name)
            alike = next((place for place, ring in enumerate(rings) if ring.now is now), None)
            if alike is None:
                rings.append(Ring((name,), now, after))
            else:
                rings[alike] = Ring((*(rings[alike].types or ()), name), now, after)
        # No type is called "": its ring is that of all that nobody declares.
        now, after = self._now_and_after("")
        if len(now) or not rings:
            rings.append(Ring(None, now, after))
        return rings

    def name(self, ring: Ring) -> str:
        """What a ring is called."""
        if ring.types is not None:
            return "ring of " + ", ".join(ring.types)
        return "ring of all other types" if self.declared else "ring of all types"

    def is_of(self, ring: Ring, actor_type: str) -> bool:
        """Whether a ring is that of a type."""
        return actor_type not in self.declared if ring.types is None else actor_type in ring.types

    def _now_and_after(self, actor_type: str) -> Tuple[HashRing, HashRing]:
        """Equal rings are one, which is looked at once."""
        now = self._in_view(actor_type)
        for made in self._made:
            if made[0] == now:
                return made
        after = self._changes.made_to(self._in_view(actor_type)) if self._changes.are_some else now
        self._made.append((now, after))
        return self._made[-1]


def _ring_of(silos: Sequence[SiloInfo]) -> HashRing:
    ring = HashRing()
    for silo in silos:
        ring.add(silo.silo_id, silo.virtual_nodes)
    return ring
