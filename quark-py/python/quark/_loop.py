"""One bridge from the core for each event loop, watched by that loop."""

import asyncio
import atexit
import os
import threading
import weakref
from typing import Any

from . import _quark
from ._errors import NotRunningError

_bridges: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _quark.Bridge]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()

#: Everything that must end before the interpreter does.
nodes: "weakref.WeakSet[Any]" = weakref.WeakSet()


def bridge() -> _quark.Bridge:
    """The bridge of the running loop."""
    loop = asyncio.get_running_loop()
    found = _bridges.get(loop)
    if found is None:
        with _lock:
            found = _bridges[loop] = _quark.Bridge(loop)
        loop.add_reader(found.fileno(), found.drain)
    return found


def _end() -> None:
    for node in list(nodes):
        node.abort()
    try:
        _quark.set_log_level(0, None)
    except NotRunningError:
        pass  # In a forked child, where nothing runs that could log.


atexit.register(_end)
os.register_at_fork(after_in_child=_quark.after_fork_in_child)
