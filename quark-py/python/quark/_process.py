"""What this process has of Quark: its silos and clients, the bridges to its event loops, and what happens when it ends or forks.

Blocking programs need no more: asyncio, more than a third of an idle silo's memory, is not imported for them.
"""

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from . import _quark
from ._errors import NotRunningError

if TYPE_CHECKING:
    import asyncio

#: The bridge of each event loop that has one, and who may look at them.
bridges: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _quark.Bridge]" = weakref.WeakKeyDictionary()
lock = threading.Lock()

#: All silos and clients, for those who look for them.
nodes: "weakref.WeakSet[Any]" = weakref.WeakSet()


def close_the_dead() -> None:
    """Drops what waits for loops that are closed, so that nobody waits for what will not happen."""
    with lock:
        dead = [bridge for loop, bridge in bridges.items() if loop.is_closed()]
    for bridge in dead:
        bridge.close()


def _end() -> None:
    _quark.begin_to_end()
    try:
        _quark.set_log_level(0, None)
    except NotRunningError:
        pass  # In a forked child, where nothing runs that could log.


atexit.register(_end)
os.register_at_fork(after_in_child=_quark.after_fork_in_child)
