"""The wrappers between the native module and a user's handlers: they run it in its context and answer."""

import asyncio
import contextvars
import inspect
import logging
from typing import Any, Callable, List, Mapping, Optional, Set, Tuple

from ._quark import Request

_log = logging.getLogger("quark.handler")

#: The request that this code handles. Calls made meanwhile inherit its correlation id and trace, and its deadline until
#: it is answered.
current: "contextvars.ContextVar[Optional[Request]]" = contextvars.ContextVar("quark_request", default=None)

Native = Tuple[Optional[str], Callable[[Request], None], bool]


def current_request() -> Optional[Request]:
    """The request that the running code handles, also in the tasks and contexts that its handler made; else None.

    Calls inherit its correlation id and its trace, and end when its caller stops waiting, at the latest. Work that is to
    go on after the answer may: from then on nothing limits it.
    """
    return current.get()


def is_handling() -> bool:
    """Whether the handler of the current request is still at it."""
    request = current.get()
    return request is not None and not request.is_answered


def _answer(request: Request, reply: Any) -> None:
    """Replies with what a handler returned; None is an empty reply."""
    try:
        request._reply(b"" if reply is None else reply)
    except Exception as error:
        _fail(request, error)


def _fail(request: Request, error: BaseException) -> None:
    try:
        text = str(error)
    except Exception:
        text = "(its text cannot be had)"
    if not isinstance(error, asyncio.CancelledError):  # The loop ends; nobody made a mistake.
        _log.error("%r failed", request, exc_info=error)
    try:
        request._fail(f"{type(error).__name__}: {text}" if text else type(error).__name__)
    except Exception:
        pass  # It was answered before, by a reply that was too large.


def wrap(handler: Callable[[Request], Any]) -> "Tuple[Callable[[Request], None], bool]":
    """The native form of a handler, and whether it is a coroutine function."""
    if not callable(handler):
        raise TypeError(f"handler={handler!r}: must be callable, not {type(handler).__name__}")
    call = getattr(handler, "__call__", None)
    context = contextvars.copy_context()
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        return _wrap_async(handler, context), True
    return _wrap_plain(handler, context), False


def _wrap_async(handler: Callable[[Request], Any], context: contextvars.Context) -> Callable[[Request], None]:
    tasks: "Set[asyncio.Task[None]]" = set()  # The loop itself holds tasks weakly.

    async def handle(request: Request) -> None:
        current.set(request)
        try:
            reply = await handler(request)
        except Exception as error:
            _fail(request, error)
        except BaseException as error:
            _fail(request, error)
            raise
        else:
            _answer(request, reply)

    def start(request: Request) -> None:
        task = context.copy().run(asyncio.ensure_future, handle(request))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return start


def _wrap_plain(handler: Callable[[Request], Any], context: contextvars.Context) -> Callable[[Request], None]:
    def run(request: Request) -> None:
        current.set(request)
        try:
            reply = handler(request)
        except BaseException as error:  # SystemExit in a worker thread ends the request, not the program.
            _fail(request, error)
        else:
            _answer(request, reply)

    def start(request: Request) -> None:
        context.copy().run(run, request)

    return start


def native(
    handler: Optional[Callable[[Request], Any]], handlers: Optional[Mapping[str, Callable[[Request], Any]]]
) -> List[Native]:
    """All handlers of a silo in their native form."""
    given: List[Native] = []
    if handlers is not None and not isinstance(handlers, Mapping):
        raise TypeError(f"handlers={handlers!r}: must be a mapping of actor types to functions")
    for actor_type, function in (handlers or {}).items():
        if not isinstance(actor_type, str):
            raise TypeError(f"handlers: the actor type {actor_type!r} must be str, not {type(actor_type).__name__}")
        given.append((actor_type, *wrap(function)))
    if handler is not None:
        given.append((None, *wrap(handler)))
    return given
