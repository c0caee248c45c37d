"""One bridge from the core for each event loop, watched by that loop."""

import asyncio
import selectors
import weakref
from typing import Any, Callable, List, Optional, Tuple

from . import _quark
from ._handlers import fail
from ._process import bridges, close_the_dead, lock

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
    found = bridges.get(loop)
    if found is None:
        close_the_dead()
        with lock:
            found = bridges[loop] = _quark.Bridge(loop, _run)
        loop.add_reader(found.fileno(), found.drain)
        _wait_with(loop, found)
    _latest = (weakref.ref(loop), weakref.ref(found))
    return found


class _Selector(selectors.EpollSelector):
    """How a loop of asyncio's waits that drives Quark while messages come and it has nothing else to do. Else each of them is handed
    from one thread to another, which costs more than the message."""

    bridge: _quark.Bridge

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        looks: Optional[bool] = True
        try:
            looks = self.bridge.wait(timeout)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # As the loop does with what a callback raises.
            context = {"message": f"Exception in {self.bridge!r}", "exception": error}
            self.bridge.loop().call_exception_handler(context)
        if looks is None:
            return selectors.EpollSelector.select(self, timeout)
        return selectors.EpollSelector.select(self, 0) if looks else []


def _wait_with(loop: asyncio.AbstractEventLoop, bridge: _quark.Bridge) -> None:
    """Gives a loop of asyncio's that way to wait. Not where it, or the program, has one of its own."""
    selector = getattr(loop, "_selector", None)
    if type(selector) is not selectors.EpollSelector or "select" in vars(selector):
        return
    vars(selector)["bridge"] = bridge
    selector.__class__ = _Selector
    try:
        bridge.waits_with(selector.fileno())
    except OSError:
        pass  # No descriptor is left: it waits as ever.


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
            if future is None:
                fail(error, problem, log=False)  # Unless its handler did; whoever keeps the problem would keep its caller waiting.
            # The loop ends; what has not begun then never does.
            at_once = at_once and isinstance(problem, Exception)
    if first_error is not None:
        raise first_error
