"""The wrappers between the native module and a user's handlers: they run it in its context and answer."""

import asyncio
import contextvars
import inspect
import logging
import traceback
from typing import Any, Callable, List, Mapping, Optional, Set, Tuple

from ._quark import Request

_log = logging.getLogger("quark.handler")

#: The correlation id and trace of the request that is being handled; calls made meanwhile inherit them.
inherited: "contextvars.ContextVar[Tuple[Optional[str], Optional[str]]]" = contextvars.ContextVar(
    "quark_inherited", default=(None, None)
)
#: Whether this code runs inside a handler.
handling: "contextvars.ContextVar[bool]" = contextvars.ContextVar("quark_handling", default=False)

Native = Tuple[Optional[str], Callable[[Request], None], bool]


def _enter(request: Request) -> None:
    inherited.set((request.correlation_id, request.traceparent))
    handling.set(True)


def _answer(request: Request, reply: Any) -> None:
    """Replies with what a handler returned; None is an empty reply."""
    try:
        request._reply(b"" if reply is None else reply)
    except Exception as error:
        _fail(request, error)


def _fail(request: Request, error: BaseException, log: bool = True) -> None:
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
    try:
        text = str(error)
    except Exception as problem:
        text = f"its __str__ raised {type(problem).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Origin:
    """The context in which handlers run: that of the code that started what they belong to."""

    def __init__(self) -> None:
        self.starts_here()

    def starts_here(self) -> None:
        """From now on it is the present one."""
        self.context = contextvars.copy_context()


def wrap(handler: Callable[[Request], Any], origin: Origin) -> "Tuple[Callable[[Request], None], bool]":
    """The native form of a handler, and whether it is a coroutine function."""
    if not callable(handler):
        raise TypeError(f"handler={handler!r}: must be callable, not {type(handler).__name__}")
    call = getattr(handler, "__call__", None)
    if inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call):
        return _wrap_async(handler, origin), True
    return _wrap_plain(handler, origin), False


def _wrap_async(handler: Callable[[Request], Any], origin: Origin) -> Callable[[Request], None]:
    tasks: "Set[asyncio.Task[None]]" = set()  # The loop itself holds tasks weakly.

    async def handle(request: Request) -> None:
        _enter(request)
        try:
            reply = await handler(request)
        except Exception as error:
            _fail(request, error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            _fail(request, error, log=False)  # The loop ends, and whoever runs it is told.
            raise
        except BaseException as error:
            _fail(request, error)
            raise
        else:
            _answer(request, reply)

    def done(task: "asyncio.Task[None]") -> None:
        tasks.discard(task)
        if not task.cancelled():
            task.exception()  # The caller has it, and the log; asyncio need not miss anybody who looks at it.

    def start(request: Request) -> None:
        task = origin.context.copy().run(asyncio.ensure_future, handle(request))
        tasks.add(task)
        task.add_done_callback(done)

    return start


def _wrap_plain(handler: Callable[[Request], Any], origin: Origin) -> Callable[[Request], None]:
    def run(request: Request) -> None:
        _enter(request)
        try:
            reply = handler(request)
        except BaseException as error:  # SystemExit in a worker thread ends the request, not the program.
            _fail(request, error)
        else:
            _answer(request, reply)

    def start(request: Request) -> None:
        origin.context.copy().run(run, request)

    return start


def native(
    handler: Optional[Callable[[Request], Any]],
    handlers: Optional[Mapping[str, Callable[[Request], Any]]],
    origin: Origin,
) -> List[Native]:
    """All handlers of a silo in their native form."""
    given: List[Native] = []
    if handlers is not None and not isinstance(handlers, Mapping):
        raise TypeError(f"handlers={handlers!r}: must be a mapping of actor types to functions")
    for actor_type, function in (handlers or {}).items():
        if not isinstance(actor_type, str):
            raise TypeError(f"handlers: the actor type {actor_type!r} must be str, not {type(actor_type).__name__}")
        given.append((actor_type, *wrap(function, origin)))
    if handler is not None:
        given.append((None, *wrap(handler, origin)))
    return given
