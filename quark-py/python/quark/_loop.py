"""One bridge from the core for each event loop, watched by that loop."""

import asyncio
import atexit
import os
import threading
import weakref
from typing import Any, Callable, List, Optional, Tuple

from . import _quark
from ._errors import NotRunningError

_bridges: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _quark.Bridge]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()

#: All silos and clients, for those who look for them.
nodes: "weakref.WeakSet[Any]" = weakref.WeakSet()


#: The loop whose bridge was asked for last, and that bridge; most programs have one.
_latest: "Tuple[Callable[[], Optional[asyncio.AbstractEventLoop]], Callable[[], Optional[_quark.Bridge]]]" = (
    lambda: None,
    lambda: None,
)


def bridge() -> _quark.Bridge:
    """The bridge of the running loop."""
    global _latest
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # A coroutine that forked goes on in the child, where its loop does not run.
        _quark.check_fork()
        raise
    latest_loop, latest_bridge = _latest
    if latest_loop() is loop:
        found = latest_bridge()
        if found is not None:
            return found
    found = _bridges.get(loop)
    if found is None:
        close_the_dead()
        with _lock:
            found = _bridges[loop] = _quark.Bridge(loop, _run)
        loop.add_reader(found.fileno(), found.drain)
    _latest = (weakref.ref(loop), weakref.ref(found))
    return found


def _run(
    items: "List[Tuple[Optional[asyncio.Future[Any]], Any, Any]]", bridge: _quark.Bridge, at_once: bool
) -> None:
    """Does all that has come for a bridge's loop, on it: starts handlers, which may begin ``at_once`` or when the loop comes to
    them, and completes futures unless they were cancelled."""
    first_error: Optional[BaseException] = None
    for future, outcome, error in items:
        try:
            if future is None:
                outcome(error, bridge, at_once)  # A handler's start, and its request.
            elif future.done():
                pass
            elif error is None:
                future.set_result(outcome)
            else:
                future.set_exception(error)
        except BaseException as problem:  # Whatever one of them raises, the others are done.
            first_error = first_error or problem
            # The loop ends; what has not begun then never does.
            at_once = at_once and isinstance(problem, Exception)
    if first_error is not None:
        raise first_error


def close_the_dead() -> None:
    """Drops what waits for loops that are closed, so that nobody waits for what will not happen."""
    with _lock:
        dead = [bridge for loop, bridge in _bridges.items() if loop.is_closed()]
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
