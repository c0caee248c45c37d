"""``quark ring --json``"""

import json
from typing import TYPE_CHECKING, Any, Dict, List, Mapping

from .._quark import hash as place_of
from .._types import SiloInfo
from .rings import Ring, Rings

if TYPE_CHECKING:
    from .ring import Asked


def show(asked: "Asked", rings: Rings) -> None:
    """Prints all of it."""
    shown = [rings.of_type(asked.only_type)] if asked.only_type else rings.all()
    said = {
        "cluster": asked.cluster,
        "view_version": asked.view_version,
        "silos": [_silo(silo, asked.cluster is not None) for silo in asked.silos],
        "joining": _weighted(asked.changes.joining),
        "leaving": list(asked.changes.leaving),
        "weights": _weighted(asked.changes.weights),
        "rings": [_ring(ring, asked.changes.are_some) for ring in shown],
        "keys": [_key(asked, rings, actor_type, actor_id) for actor_type, actor_id in asked.keys],
    }
    print(json.dumps(said, indent=2))


def _weighted(silos: Mapping[str, int]) -> List[Dict[str, Any]]:
    return [{"id": silo_id, "virtual_nodes": number} for silo_id, number in silos.items()]


def _silo(silo: SiloInfo, there: bool) -> Dict[str, Any]:
    said: Dict[str, Any] = {"id": silo.silo_id, "virtual_nodes": silo.virtual_nodes}
    if there:
        said.update(
            endpoint=silo.endpoint,
            status=silo.status.name.lower(),
            incarnation=silo.incarnation,
            zone=silo.zone,
            actor_types=silo.actor_types,
            labels=dict(silo.labels),
            protocol_version=silo.protocol_version,
        )
    return said


def _ring(ring: Ring, changes: bool) -> Dict[str, Any]:
    said: Dict[str, Any] = {"types": ring.types, "shares": ring.now.shares()}
    if changes:
        moved: List[Dict[str, Any]] = [
            {"from": giver, "to": taker, "share": part}
            for (giver, taker), part in ring.now.moves(ring.after).items()
        ]
        said.update(after=ring.after.shares(), moves=moved, moved=sum(move["share"] for move in moved))
    return said


def _key(asked: "Asked", rings: Rings, actor_type: str, actor_id: str) -> Dict[str, Any]:
    ring, key = rings.of_type(actor_type), f"{actor_type}:{actor_id}"
    said: Dict[str, Any] = {"type": actor_type, "id": actor_id, "hash": place_of(key), "owner": ring.now.owner(key)}
    said["next_owners"] = ring.now.next_owners(key)
    if asked.changes.are_some:
        said["after"] = ring.after.owner(key)
    return said
