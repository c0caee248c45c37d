"""``async def`` handlers: the tasks that they run in, and how these begin."""

import asyncio
import contextvars
import inspect
import sys
from typing import Any, Callable, Coroutine, List, Optional, Set, Tuple

from . import _handlers, _quark
from ._handlers import answer, current, fail
from ._quark import Request


def wrap(handler: Callable[[Request], Any], origin: _handlers.Origin) -> Callable[[Request, _quark.Bridge, bool], None]:
    """The native form of a coroutine function."""
    tasks: "Set[Optional[asyncio.Task[None]]]" = set()  # Those that have begun and wait; the loop itself holds them weakly.

    async def handle(
        request: Request, bridge: _quark.Bridge, loop: asyncio.AbstractEventLoop, began_at_once: bool
    ) -> None:
        own = None if began_at_once else asyncio.current_task(loop)
        if own is not None:
            tasks.add(own)
        current.set(request)
        try:
            reply = await handler(request)
        except Exception as error:
            fail(request, error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            fail(request, error, log=False)  # The loop ends, and whoever runs it is told.
            _is_known(asyncio.current_task(loop))
            raise
        except BaseException as error:
            fail(request, error)
            _is_known(asyncio.current_task(loop))
            raise
        else:
            answer(request, reply, bridge)
        finally:
            if tasks:
                tasks.discard(own or asyncio.current_task(loop))

    def start(request: Request, bridge: _quark.Bridge, at_once: bool) -> None:
        loop = bridge.loop()
        plain = makes_plain_tasks(loop)
        at_once = at_once and plain
        coroutine, context = handle(request, bridge, loop, at_once), origin.context.copy()
        if at_once:
            task = begin(loop, coroutine, context)
            if not task.done():
                tasks.add(task)
        else:
            make(loop, coroutine, context, plain)

    return start


def _is_known(task: "Optional[asyncio.Task[None]]") -> None:
    """What this task ends with is known to the caller and the log; asyncio need not miss anybody who looks at it."""
    if task is not None:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())


#: Where loops come from whose tasks are asyncio's own.
_PLAIN_LOOPS = ("asyncio.unix_events", "uvloop")


def makes_plain_tasks(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether neither the program nor another kind of loop has its own way of making tasks and taking their steps."""
    if type(loop).__module__ not in _PLAIN_LOOPS or loop.get_task_factory() is not None:
        return False
    attributes = vars(loop)
    return "create_task" not in attributes and "call_soon" not in attributes


if sys.version_info >= (3, 12):

    def begin(
        loop: asyncio.AbstractEventLoop, coroutine: "Coroutine[Any, Any, None]", context: contextvars.Context
    ) -> "asyncio.Task[None]":
        """Makes a plain task, which begins here; one that never waits takes no round of the loop."""
        return asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)

else:

    def begin(
        loop: asyncio.AbstractEventLoop, coroutine: "Coroutine[Any, Any, None]", context: contextvars.Context
    ) -> "asyncio.Task[None]":
        """Makes a plain task, which begins here; one that never waits takes no round of the loop.

        A task asks its loop for its first step by ``call_soon``. Only while it is made, the loop has another in this place, which
        keeps the step, to be done here. (In Rust this was no faster.)
        """
        steps: "List[Tuple[Any, Optional[contextvars.Context]]]" = []

        def keep(step: Any, *arguments: Any, context: Optional[contextvars.Context] = None) -> Any:
            task = getattr(step, "__self__", None)
            if isinstance(task, asyncio.Task) and task.get_coro() is coroutine:
                return steps.append((step, context))
            # A finalizer's, which the garbage collector runs meanwhile.
            return type(loop).call_soon(loop, step, *arguments, context=context)

        attributes = vars(loop)
        try:
            attributes["call_soon"] = keep
            try:
                if sys.version_info >= (3, 11):
                    task = asyncio.Task(coroutine, loop=loop, context=context)
                else:
                    task = context.run(asyncio.Task, coroutine, loop=loop)
            finally:
                attributes.pop("call_soon", None)
            step, step_context = steps[0]
            (context if step_context is None else step_context).run(step)
        except BaseException:
            # Ctrl-C while it was made: asyncio knows the task, and waits for it when it ends.
            if steps and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                step, step_context = steps[0]
                loop.call_soon(step, context=step_context)
            raise
        return task


def make(
    loop: asyncio.AbstractEventLoop,
    coroutine: "Coroutine[Any, Any, None]",
    context: contextvars.Context,
    plain: bool,
) -> None:
    """Makes a task, which begins when the loop comes to it."""
    if plain and sys.version_info >= (3, 11):
        asyncio.Task(coroutine, loop=loop, context=context)  # As the loop would do it.
        return
    try:
        loop.create_task(coroutine, context=context)  # Which need not be copied then.
    except TypeError:  # CPython before 3.11, and loops and task factories that know nothing of contexts.
        context.run(loop.create_task, coroutine)
