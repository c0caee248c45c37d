"""``quark ring`` for people."""

import sys
from typing import TYPE_CHECKING, Dict, List, Optional

from .._types import SiloStatus
from . import output
from .rings import Ring, Rings

if TYPE_CHECKING:
    from .ring import Asked

#: Bars are no longer than this, however wide the terminal is.
LONGEST = 100


def show(asked: "Asked", rings: Rings) -> None:
    """Prints all of it."""
    parts: List[List[str]] = []
    if asked.cluster is not None:
        parts.append(_members(asked))
    for ring in [rings.of_type(asked.only_type)] if asked.only_type else rings.all():
        name = _name(ring, bool(rings.declared))
        parts.append(_shares(ring, name))
        if asked.joining:
            parts.append(_moves(ring, name, asked.joining))
    if asked.keys:
        parts.append(_owners(asked, rings))
    print("\n\n".join("\n".join(part) for part in parts))


def _members(asked: "Asked") -> List[str]:
    number = len(asked.silos)
    line = f"{number} silo{'' if number == 1 else 's'} in cluster {asked.cluster}, view {asked.view_version}"
    if not asked.silos:
        return [line]
    rows = [["", "silo", "endpoint", "status", "incarnation", "zone", "virtual nodes", "types"]]
    for silo in asked.silos:
        types = "all" if silo.actor_types is None else ", ".join(silo.actor_types)
        active = silo.status == SiloStatus.ACTIVE
        status = "draining" if active and silo.draining else silo.status.name.lower().replace("_", " ")
        numbers = [str(silo.incarnation), silo.zone or "-", str(silo.virtual_nodes)]
        rows.append(["", *map(output.printable, [silo.silo_id, silo.endpoint, status, *numbers, types or "none"])])
    return [line, *output.table(rows)]


def _name(ring: Ring, some_declared: bool) -> str:
    if ring.types is not None:
        return output.printable("ring of " + ", ".join(ring.types))
    return "ring of all other types" if some_declared else "ring of all types"


def _percent(part: float) -> str:
    return f"{100 * part:.1f}%"


def _shares(ring: Ring, name: str) -> List[str]:
    shares = ring.now.shares()
    if not shares:
        return [output.fitting(f"{name}: no silo")]
    most = max(shares.values())
    ids = {silo_id: output.printable(silo_id) for silo_id in shares}
    id_columns = min(max(map(output.width, ids.values())), output.columns() // 2)
    bar_columns = min(output.columns() - id_columns - len("  ") * 2 - len(" 100.0%"), LONGEST)
    blocks = output.has_blocks(sys.stdout)
    lines = [output.fitting(name)]
    for silo_id in sorted(shares, key=str.encode):
        bar = output.bar(shares[silo_id] / most, bar_columns, blocks)
        lines.append(f"  {output.padded(ids[silo_id], id_columns)}  {bar}{_percent(shares[silo_id]):>7}")
    return lines


def _moves(ring: Ring, name: str, joining: Dict[str, int]) -> List[str]:
    moved = ring.now.moves(ring.joined)
    given: Dict[Optional[str], float] = {}
    for (giver, _), part in moved.items():
        given[giver] = given.get(giver, 0) + part
    total = _percent(sum(moved.values()))
    before, after = ring.now.shares(), ring.joined.shares()
    rows = [["", "silo", "now", "then", ""]]
    for silo_id in sorted(after, key=str.encode):
        gives = f"gives {_percent(given.get(silo_id, 0))}"
        row = [_percent(before.get(silo_id, 0)), _percent(after[silo_id])]
        gets = f"gets {_percent(after[silo_id])}"
        rows.append(["", output.printable(silo_id), *row, gets if silo_id in joining else gives])
    who = ", ".join(f"{output.printable(silo_id)} ({number} virtual nodes)" for silo_id, number in joining.items())
    return [output.fitting(f"{name}, if {who} joined: {total} would move"), *output.table(rows)]


def _owners(asked: "Asked", rings: Rings) -> List[str]:
    rows = [["", "key", "owner", ""]]
    for actor_type, actor_id in asked.keys:
        ring, key = rings.of_type(actor_type), f"{actor_type}:{actor_id}"
        now, then = ring.now.owner(key), ring.joined.owner(key)
        moving = ("stays" if now == then else f"would move to {then}") if asked.joining else ""
        rows.append(["", *map(output.printable, [f"{actor_type}/{actor_id}", now or "nobody", moving])])
    return ["owners", *output.table(rows)]
