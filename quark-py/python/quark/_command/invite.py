"""The commands that a person can type next."""

import os
import shlex
import shutil
import sys
from typing import List, Optional

from .._types import SiloInfo


def program() -> str:
    """How this command was called, so that it can be called again."""
    called = sys.argv[0] if sys.argv else ""
    if os.path.basename(called) in ("__main__.py", "-m", "-c", ""):
        return f"{_reachable(sys.executable or 'python')} -m quark"
    return _reachable(called)


def _reachable(path: str) -> str:
    """The name of a program where the search path leads to it, else its path."""
    name = os.path.basename(path)
    found = shutil.which(name)
    return shlex.quote(name if found and os.path.realpath(found) == os.path.realpath(path) else path)


def has_password(url: str) -> bool:
    """Whether a URL should not be shown."""
    return url.startswith("redis") and ":" in url.partition("://")[2].rpartition("@")[0]


def membership(url: str, own: Optional[SiloInfo]) -> Optional[str]:
    """The URL by which others find this silo, for a shell; None when nobody outside this process can."""
    scheme, _, rest = url.partition("://")
    if scheme == "gossip" and own is not None and "quark.gossip" in own.labels:
        host = rest.partition("?")[0].rpartition(":")[0]
        return shlex.quote(f"gossip://{host}:0?seed={own.labels['quark.gossip']}")
    if scheme == "static" and own is not None:
        return shlex.quote(f"static://{own.silo_id}@{own.endpoint}" + (f",{rest}" if rest else ""))
    if scheme == "memory":
        return None
    return '"$QUARK_MEMBERSHIP"' if has_password(url) else shlex.quote(url)


def lines(
    url: str, cluster: str, own: Optional[SiloInfo], types: List[str], listening: List[str]
) -> List[str]:
    """What to type in another terminal: a call, a look at the ring, and, where silos can join, another silo."""
    where = membership(url, own)
    if where is None:
        return []
    there = f"--membership {where}" + ("" if cluster == "quark" else f" --cluster {shlex.quote(cluster)}")
    actor_type = types[0] if types else "Echo"
    said = ["# QUARK_MEMBERSHIP is the URL of this silo, which has a password"] if has_password(url) else []
    said += [
        f"{program()} call {shlex.quote(actor_type)} ann echo hello {there}",
        f"{program()} ring {shlex.quote(actor_type + '/ann')} {there}",
    ]
    if not url.startswith("static:"):
        as_here = [word for actor_type in types for word in ("--type", actor_type)] + listening
        said.append(" ".join([f"{program()} silo {there}", *map(shlex.quote, as_here)]))
    return said
