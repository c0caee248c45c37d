"""The wrappers between the native module and a user's handlers: they run it in its context and answer."""

import contextvars
import inspect
import logging
import os
import traceback
from typing import Any, Callable, List, Mapping, NoReturn, Optional, Tuple

from . import _quark
from ._errors import HandlerFailedError
from ._quark import Request

_log = logging.getLogger("quark.handler")

#: The request that this code handles. Calls made meanwhile inherit its correlation id and trace, and its deadline until
#: it is answered.
current: "contextvars.ContextVar[Optional[Request]]" = contextvars.ContextVar("quark_request", default=None)

#: An actor type, what starts its handler, and whether that takes the bridge of its loop too.
Native = Tuple[Optional[str], Callable[..., None], bool]


def current_request() -> Optional[Request]:
    """The request that the running code handles, also in the tasks and contexts that its handler made; else None.

    Calls inherit its correlation id and its trace, and end when its caller stops waiting, at the latest. Work that is to
    go on after the answer may: from then on nothing limits it.
    """
    return current.get()


def is_handling(origin: "Origin") -> bool:
    """Whether this code belongs to a handler of that origin which is still at it."""
    request = current.get()
    return request is not None and not request.is_answered and _owner.get() is origin


def answer(request: Request, reply: Any, bridge: Optional[_quark.Bridge] = None) -> None:
    """Replies with what a handler returned, on the loop of the bridge if there is one; None is an empty reply."""
    try:
        if type(reply) is not bytes and inspect.iscoroutine(reply):
            reply.close()
            raise TypeError("the handler returned a coroutine and is no coroutine function: make it an `async def`")
        request._reply(b"" if reply is None else reply, bridge)
    except Exception as error:
        fail(request, error)


def fail(request: Request, error: BaseException, log: bool = True) -> None:
    try:
        request._fail(_describe(error))
    except Exception:
        pass  # It was answered before, by a reply that was too large.
    if log:
        try:
            _log.error("%r failed", request, exc_info=error)
        except Exception:
            traceback.print_exc()  # The program's own logging failed; there is nobody else to tell.


def _describe(error: BaseException) -> str:
    if isinstance(error, HandlerFailedError):
        return error.message  # Of a call that the handler made: what was raised there is what its caller wants to know.
    try:
        text = str(error)
    except Exception as problem:
        text = f"its __str__ raised {type(problem).__name__}"
    # What comes from the file system may have bytes in it that are no text.
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Origin:
    """The context in which handlers run: that of the code that started what they belong to."""

    def __init__(self) -> None:
        self.starts_here()

    def starts_here(self) -> None:
        """From now on it is the present one."""
        self.context = contextvars.copy_context()
        self.context.run(_owner.set, self)


#: Whose handler this code is.
_owner: "contextvars.ContextVar[Optional[Origin]]" = contextvars.ContextVar("quark_owner", default=None)


def wrap(
    handler: Callable[[Request], Any], origin: Origin, name: str = "handler"
) -> "Tuple[Callable[..., None], bool]":
    """The native form of a handler, and whether it is a coroutine function."""
    if not callable(handler):
        raise TypeError(f"{name}={handler!r}: must be callable, not {type(handler).__name__}")
    call = getattr(handler, "__call__", None)
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        from ._tasks import wrap as wrap_async  # Who has none needs no asyncio.

        return wrap_async(handler, origin), True
    return _wrap_plain(handler, origin), False


def _wrap_plain(handler: Callable[[Request], Any], origin: Origin) -> Callable[[Request], None]:
    def run(request: Request) -> None:
        current.set(request)
        try:
            reply = handler(request)
        except BaseException as error:  # SystemExit in a worker thread ends the request, not the program.
            if _quark.is_forked():
                _leave_child(error)
            fail(request, error)
        else:
            if _quark.is_forked():
                _leave_child(None)
            answer(request, reply)

    def start(request: Request) -> None:
        origin.context.copy().run(run, request)

    return start


def _leave_child(error: Optional[BaseException]) -> "NoReturn":
    """The handler forked, and comes back in the child too: there this thread is the only one, the request belongs to the
    parent, and nothing is left to do."""
    if isinstance(error, SystemExit):
        os._exit(error.code if isinstance(error.code, int) else 0 if error.code is None else 1)
    if error is not None:
        traceback.print_exception(type(error), error, error.__traceback__)
    os._exit(0 if error is None else 1)


def native(
    handler: Optional[Callable[[Request], Any]],
    handlers: Optional[Mapping[str, Callable[[Request], Any]]],
    origin: Origin,
) -> List[Native]:
    """All handlers of a silo in their native form."""
    given: List[Native] = []
    if handlers is not None and not isinstance(handlers, Mapping):
        raise TypeError(f"handlers={handlers!r}: must be a mapping of actor types to functions, as in {{'Counter': count}}")
    for actor_type, function in (handlers or {}).items():
        if not isinstance(actor_type, str):
            raise TypeError(f"handlers: the actor type {actor_type!r} must be str, not {type(actor_type).__name__}")
        given.append((actor_type, *wrap(function, origin, f"handlers[{actor_type!r}]")))
    if handler is not None:
        given.append((None, *wrap(handler, origin)))
    return given
