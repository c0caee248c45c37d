"""``quark ring --json``"""

import json
from typing import TYPE_CHECKING, Any, Dict, List

from .._quark import hash as point_of
from .._types import SiloInfo
from .rings import Ring, Rings
from .shares import CIRCLE, Points, moves

if TYPE_CHECKING:
    from .ring import Asked


def show(asked: "Asked", rings: Rings) -> None:
    """Prints all of it."""
    shown = [rings.of_type(asked.only_type)] if asked.only_type else rings.all()
    said = {
        "cluster": asked.cluster,
        "view_version": asked.view_version,
        "silos": [_silo(silo, asked.cluster is not None) for silo in asked.silos],
        "joining": [{"id": silo_id, "virtual_nodes": number} for silo_id, number in asked.joining.items()],
        "rings": [_ring(ring, bool(asked.joining)) for ring in shown],
        "keys": [_key(asked, rings, actor_type, actor_id) for actor_type, actor_id in asked.keys],
    }
    print(json.dumps(said, indent=2))


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


def _shares(points: Points) -> Dict[str, float]:
    # Divided by a power of two nothing is rounded: these sum to 1 exactly.
    return {silo_id: share / CIRCLE for silo_id, share in points.shares().items()}


def _ring(ring: Ring, joining: bool) -> Dict[str, Any]:
    said: Dict[str, Any] = {"types": ring.types, "shares": _shares(ring.points)}
    if joining:
        moved: List[Dict[str, Any]] = [
            {"from": giver, "to": taker, "share": part / CIRCLE}
            for (giver, taker), part in moves(ring.points, ring.joined).items()
        ]
        said.update(joined=_shares(ring.joined), moves=moved, moved=sum(move["share"] for move in moved))
    return said


def _key(asked: "Asked", rings: Rings, actor_type: str, actor_id: str) -> Dict[str, Any]:
    ring, key = rings.of_type(actor_type), f"{actor_type}:{actor_id}"
    said = {"type": actor_type, "id": actor_id, "hash": point_of(key), "owner": ring.points.owner(key)}
    if asked.joining:
        said["joined"] = ring.joined.owner(key)
    return said
