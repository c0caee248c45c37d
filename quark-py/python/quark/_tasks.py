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
    tasks: "Set[Optional[asyncio.Task[None]]]" = set()  # Those that have begun; the loop itself holds them weakly then.

    async def handle(request: Request, bridge: _quark.Bridge, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)
        tasks.add(task)
        current.set(request)
        try:
            reply = await handler(request)
        except Exception as error:
            fail(request, error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            fail(request, error, log=False)  # The loop ends, and whoever runs it is told.
            _is_known(task)
            raise
        except BaseException as error:
            fail(request, error)
            _is_known(task)
            raise
        else:
            answer(request, reply, bridge)
        finally:
            tasks.discard(task)

    def start(request: Request, bridge: _quark.Bridge, at_once: bool) -> None:
        loop = bridge.loop()
        make(loop, handle(request, bridge, loop), origin.context.copy(), at_once)

    return start


def _is_known(task: "Optional[asyncio.Task[None]]") -> None:
    """What this task ends with is known to the caller and the log; asyncio need not miss anybody who looks at it."""
    if task is not None:
        task.add_done_callback(lambda task: task.cancelled() or task.exception())


#: Where loops come from whose tasks are asyncio's own.
_PLAIN_LOOPS = ("asyncio.unix_events", "uvloop")


def make(
    loop: asyncio.AbstractEventLoop,
    coroutine: "Coroutine[Any, Any, None]",
    context: contextvars.Context,
    at_once: bool,
) -> None:
    """Makes a task, which begins at once or when the loop comes to it.

    One that begins at once and never waits takes no round of the loop. Where the program or another kind of loop has its
    own way of making tasks, none does.
    """
    if type(loop).__module__ in _PLAIN_LOOPS and loop.get_task_factory() is None and "create_task" not in vars(loop):
        if at_once and _begin(loop, coroutine, context):
            return
        if sys.version_info >= (3, 11):
            asyncio.Task(coroutine, loop=loop, context=context)  # As the loop would do it.
            return
    try:
        loop.create_task(coroutine, context=context)  # Which need not be copied then.
    except TypeError:  # CPython before 3.11, and loops and task factories that know nothing of contexts.
        context.run(loop.create_task, coroutine)


if sys.version_info >= (3, 12):

    def _begin(
        loop: asyncio.AbstractEventLoop, coroutine: "Coroutine[Any, Any, None]", context: contextvars.Context
    ) -> bool:
        asyncio.Task(coroutine, loop=loop, context=context, eager_start=True)
        return True

else:

    def _begin(
        loop: asyncio.AbstractEventLoop, coroutine: "Coroutine[Any, Any, None]", context: contextvars.Context
    ) -> bool:
        """A task asks its loop for its first step by ``call_soon``. Only while it is made, the loop has another in this place, which
        keeps the step, to be done here; false where somebody else has put one there."""
        attributes = vars(loop)
        if "call_soon" in attributes:
            return False
        steps: "List[Tuple[Any, Optional[contextvars.Context]]]" = []

        def keep(step: Any, *arguments: Any, context: Optional[contextvars.Context] = None) -> Any:
            task = getattr(step, "__self__", None)
            if isinstance(task, asyncio.Task) and task.get_coro() is coroutine:
                return steps.append((step, context))
            # A finalizer's, which the garbage collector runs meanwhile.
            return type(loop).call_soon(loop, step, *arguments, context=context)

        try:
            attributes["call_soon"] = keep
            try:
                if sys.version_info >= (3, 11):
                    asyncio.Task(coroutine, loop=loop, context=context)
                else:
                    context.run(asyncio.Task, coroutine, loop=loop)
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
        return True
