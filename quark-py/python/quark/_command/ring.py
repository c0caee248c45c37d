"""``quark ring``"""

import argparse
import os
from typing import List, NamedTuple, Optional, Tuple

from .._quark import HashRing
from .._types import SiloInfo
from ..blocking import Client
from . import ring_json, ring_svg, ring_text
from .options import Options, add_cluster
from .rings import Changes, Rings

HELP = "show who is in, who owns how much, and who owns a key"
DESCRIPTION = """\
Shows the silos of a cluster, the share of the ring that each of them owns, and who owns the actors given as KEY and who
would next; with --joining, --leaving and --weight also what would move if all of that happened at once. With --silos or
--silo it needs no cluster."""

VIRTUAL_NODES = 150


class Key(NamedTuple):
    """An actor that was asked for."""

    actor_type: str
    actor_id: str


class Asked(NamedTuple):
    """What is to be shown."""

    #: None when the silos are only thought of.
    cluster: Optional[str]
    view_version: Optional[int]
    silos: List[SiloInfo]
    changes: Changes
    only_type: Optional[str]
    keys: List[Key]


def add_options(sub: argparse.ArgumentParser) -> None:
    """Of which cluster, and what of it."""
    sub.add_argument("keys", metavar="KEY", nargs="*", help="an actor, as in Counter/42 or Counter:42")
    add_cluster(sub)
    sub.add_argument("--type", metavar="TYPE", dest="only_type", help="show the ring of this actor type only")
    sub.add_argument(
        "--joining",
        metavar="ID[=VIRTUAL_NODES]",
        action="append",
        default=[],
        help="show what would move if this silo joined and served every type; may be repeated",
    )
    sub.add_argument(
        "--leaving",
        metavar="ID",
        action="append",
        default=[],
        help="show what would move if this silo left; may be repeated",
    )
    sub.add_argument(
        "--weight",
        metavar="ID=VIRTUAL_NODES",
        dest="weights",
        action="append",
        default=[],
        help="show what would move if this silo had so many virtual nodes; may be repeated",
    )
    sub.add_argument(
        "--silos",
        metavar="ID[=VIRTUAL_NODES],...",
        action="append",
        default=[],
        type=lambda text: text.split(","),
        help="the ring of these silos, without a cluster",
    )
    sub.add_argument(
        "--silo",
        metavar="ID[=VIRTUAL_NODES]",
        dest="silos",
        action="append",
        type=lambda text: [text],
        help="one silo more, for ids with a comma; may be repeated",
    )
    sub.add_argument("--svg", metavar="FILE", help="draw the ring and its balance into this file, too")
    sub.add_argument("--json", action="store_true", help="print JSON")


def run(options: Options) -> int:
    """Looks and shows."""
    keys = [_key(options, text) for text in options.keys]
    thought_of = HashRing()
    offline = [_weighted(options, thought_of, text) for texts in options.silos for text in texts]
    joining = [_weighted(options, thought_of, text) for text in options.joining]
    changed = HashRing()
    weights = [_weighted(options, changed, text, is_new=False) for text in options.weights]
    for silo_id in options.leaving:
        _weighted(options, changed, f"{silo_id}=1")
    if offline:
        if options.membership not in (None, os.environ.get("QUARK_MEMBERSHIP")):
            raise options.refused("--silos and --silo are for a ring without --membership")
        cluster, version = None, None
        silos = [SiloInfo(silo_id, "", virtual_nodes=number) for silo_id, number in sorted(offline)]
    else:
        cluster = options.cluster
        version, silos = _look(options)
    changes = Changes(dict(joining), options.leaving, dict(weights))
    there = {silo.silo_id for silo in silos}
    for option, named, is_there in (
        ("--joining", changes.joining, False),
        ("--leaving", changes.leaving, True),
        ("--weight", changes.weights, True),
    ):
        for silo_id in named:
            if (silo_id in there) != is_there:
                raise options.refused(f"{option} {silo_id}: it is {'not in' if is_there else 'in already'}")
    asked = Asked(cluster, version, silos, changes, options.only_type, keys)
    rings = Rings(silos, changes)
    if options.svg is not None:
        ring_svg.write(options.svg, asked, rings)
    (ring_json if options.json else ring_text).show(asked, rings)
    return 0


def _look(options: Options) -> Tuple[int, List[SiloInfo]]:
    client = Client(membership=options.url(), cluster=options.cluster, start_timeout=options.start_timeout)
    try:
        client.start()
        return client.view_version, client.silos()
    finally:
        client.stop(0.0)


def _weighted(options: Options, ring: HashRing, text: str, is_new: bool = True) -> Tuple[str, int]:
    """A silo and its virtual nodes, which is added to a ring that refuses what cannot be. A new one need not say how many."""
    silo_id, equals, number = text.rpartition("=")
    if not equals or not (number.isascii() and number.isdigit()):
        if not is_new:
            raise options.refused(f"--weight {text}: must be ID=VIRTUAL_NODES, as in silo-1=300")
        silo_id, number = text, str(VIRTUAL_NODES)
    if not ring.add(silo_id, int(number)):
        raise options.refused(f"silo {silo_id} is named twice")
    return silo_id, int(number)


def _key(options: Options, text: str) -> Key:
    """The first slash or colon ends the type."""
    at = min((text.find(c) for c in "/:" if c in text), default=-1)
    if at < 1 or at == len(text) - 1:
        raise options.refused(f"KEY {text!r}: must be TYPE/ID or TYPE:ID, as in Counter/42")
    return Key(text[:at], text[at + 1 :])
