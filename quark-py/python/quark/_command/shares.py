"""How much of the ring each silo owns, computed from the points."""

from bisect import bisect_left
from typing import Dict, List, Mapping, Optional, Tuple

from .._quark import hash as point_of

#: How many points the circle has. Shares are counted in them, as whole numbers, and sum to this exactly.
CIRCLE = 2**32


class Points:
    """The points of silos with so many virtual nodes each."""

    def __init__(self, silos: Mapping[str, int]) -> None:
        at: Dict[int, str] = {}
        # Of silos on one point the bytewise smallest has it.
        for silo_id in sorted(silos, key=str.encode):
            for i in range(silos[silo_id]):
                at.setdefault(point_of(f"{silo_id}:{i}"), silo_id)
        self.silos = dict(silos)
        self.at = sorted(at)
        self._owners = [at[point] for point in self.at]

    def owner_of(self, point: int) -> Optional[str]:
        """The silo at the smallest point from this one on, around the circle."""
        if not self.at:
            return None
        return self._owners[bisect_left(self.at, point) % len(self.at)]

    def owner(self, key: str) -> Optional[str]:
        """The owner of a key, ``type:id``."""
        return self.owner_of(point_of(key))

    def shares(self) -> Dict[str, int]:
        """How many points of the circle fall to each silo."""
        shares = dict.fromkeys(self.silos, 0)
        for before, point, owner in zip(self.at[-1:] + self.at, self.at, self._owners):
            shares[owner] += _arc(before, point)
        return shares


def moves(before: Points, after: Points) -> Dict[Tuple[Optional[str], Optional[str]], int]:
    """How many points of the circle go from whom to whom."""
    moved: Dict[Tuple[Optional[str], Optional[str]], int] = {}
    every: List[int] = sorted({*before.at, *after.at})
    # Between two points that are next to each other nobody's points lie, so all of that has one owner.
    for previous, point in zip(every[-1:] + every, every):
        pair = before.owner_of(point), after.owner_of(point)
        if pair[0] != pair[1]:
            moved[pair] = moved.get(pair, 0) + _arc(previous, point)
    return moved


def _arc(before: int, point: int) -> int:
    """What lies after one point up to another; from a point to itself it is the whole circle."""
    return (point - before) % CIRCLE or CIRCLE
