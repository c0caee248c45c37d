"""``quark ring`` for people."""

import sys
from typing import TYPE_CHECKING, List

from . import output
from .rings import Changes, Ring, Rings

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
        name = output.printable(rings.name(ring))
        parts.append(_shares(ring, name))
        if asked.changes.are_some:
            parts.append(_moves(ring, name, asked.changes))
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
        status = silo.status.name.lower().replace("_", " ")
        numbers = [str(silo.incarnation), silo.zone or "-", str(silo.virtual_nodes)]
        rows.append(["", *map(output.printable, [silo.silo_id, silo.endpoint, status, *numbers, types or "none"])])
    return [line, *output.table(rows)]


def percent(part: float) -> str:
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
        lines.append(f"  {output.padded(ids[silo_id], id_columns)}  {bar}{percent(shares[silo_id]):>7}")
    return lines


def said_of(changes: Changes) -> str:
    """The changes as a condition: "c (150 virtual nodes) joined and a left"."""
    parts = []
    if changes.joining:
        joining = (f"{output.printable(silo)} ({number} virtual nodes)" for silo, number in changes.joining.items())
        parts.append(", ".join(joining) + " joined")
    if changes.leaving:
        parts.append(", ".join(map(output.printable, changes.leaving)) + " left")
    parts += [f"{output.printable(silo)} had {number} virtual nodes" for silo, number in changes.weights.items()]
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _moves(ring: Ring, name: str, changes: Changes) -> List[str]:
    gives, gets, total = ring.moved()
    before, after = ring.now.shares(), ring.after.shares()
    rows = [["", "silo", "now", "then", ""]]
    for silo_id in ring.ids():
        moved = [f"{how} {percent(parts[silo_id])}" for how, parts in (("gives", gives), ("gets", gets)) if silo_id in parts]
        row = [percent(before.get(silo_id, 0)), percent(after.get(silo_id, 0))]
        rows.append(["", output.printable(silo_id), *row, ", ".join(moved) or "stays"])
    return [output.fitting(f"{name}, if {said_of(changes)}: {percent(total)} would move"), *output.table(rows)]


def _owners(asked: "Asked", rings: Rings) -> List[str]:
    rows = [["", "key", "owner", "next owners", ""]]
    for actor_type, actor_id in asked.keys:
        ring, key = rings.of_type(actor_type), f"{actor_type}:{actor_id}"
        now, then = ring.now.owner(key), ring.after.owner(key)
        following = ", ".join(ring.now.next_owners(key)) or "-"
        moving = ("stays" if now == then else f"would move to {then or 'nobody'}") if asked.changes.are_some else ""
        rows.append(["", *map(output.printable, [f"{actor_type}/{actor_id}", now or "nobody", following, moving])])
    return ["owners", *output.table(rows)]
