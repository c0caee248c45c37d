"""Tasks of handlers, made so that they begin at once: `quark._tasks`."""

import asyncio
import contextvars
import gc
import sys
from typing import Any, List

import pytest
from quark import _tasks

where: "contextvars.ContextVar[str]" = contextvars.ContextVar("where", default="elsewhere")


def from_the_loop(work: Any) -> None:
    """Runs `work` with a loop, on it and outside of any task, and what comes of it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: "asyncio.Future[None]" = loop.create_future()

        def begin() -> None:
            try:
                work(loop)
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        loop.call_soon(begin)
        await done
        await asyncio.sleep(0)

    asyncio.run(main())


def context_of_a_handler() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(where.set, "handler")
    return context


def test_a_task_begins_at_once_in_its_context_and_goes_on_when_it_has_waited():
    order: List[Any] = []
    tasks: List[Any] = []

    async def handle() -> None:
        task = asyncio.current_task()
        tasks.append(task)
        order.append(("first", where.get()))
        where.set("inside")
        await asyncio.sleep(0)
        assert asyncio.current_task() is task
        order.append(("second", where.get()))

    def work(loop: asyncio.AbstractEventLoop) -> None:
        _tasks.begin(loop, handle(), context_of_a_handler())
        order.append(("begun", where.get()))
        assert asyncio.current_task() is None and not tasks[0].done()
        tasks[0].add_done_callback(lambda task: order.append("done"))

    from_the_loop(work)
    gc.collect()
    assert order == [("first", "handler"), ("begun", "elsewhere"), ("second", "inside"), "done"]
    assert isinstance(tasks[0], asyncio.Task)


def test_a_task_that_is_not_to_begin_at_once_begins_after_what_the_loop_has_to_do_already():
    order: List[str] = []

    async def handle() -> None:
        order.append(where.get())

    def work(loop: asyncio.AbstractEventLoop) -> None:
        loop.call_soon(order.append, "before")
        _tasks.make(loop, handle(), context_of_a_handler(), _tasks.makes_plain_tasks(loop))
        loop.call_soon(order.append, "behind")

    from_the_loop(work)
    assert order == ["before", "handler", "behind"]


def test_what_a_first_step_raises_and_no_exception_is_ends_with_the_loop():
    async def handle() -> None:
        raise KeyboardInterrupt

    def work(loop: asyncio.AbstractEventLoop) -> None:
        try:
            _tasks.begin(loop, handle(), context_of_a_handler())
        except KeyboardInterrupt:
            return
        raise AssertionError("nothing was raised")

    from_the_loop(work)


if sys.version_info < (3, 12):  # From there on CPython makes and begins them at once.

    def test_a_task_that_ctrl_c_comes_in_the_making_of_begins_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
        begun: List[str] = []

        async def handle() -> None:
            begun.append(where.get())

        class Interrupted(asyncio.Task):  # type: ignore[type-arg]
            def __init__(self, *arguments: Any, **options: Any) -> None:
                super().__init__(*arguments, **options)
                raise KeyboardInterrupt

        def work(loop: asyncio.AbstractEventLoop) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(asyncio, "Task", Interrupted)
                with pytest.raises(KeyboardInterrupt):
                    _tasks.begin(loop, handle(), context_of_a_handler())
            assert begun == [] and "call_soon" not in vars(loop)

        from_the_loop(work)
        assert begun == ["handler"]


def test_finalizers_that_use_the_loop_while_a_task_is_made_are_heard():
    heard: List[int] = []
    begun: List[int] = []

    class Cycle:
        def __init__(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
            self.myself, self.loop, self.number = self, loop, number

        def __del__(self) -> None:
            handle = self.loop.call_soon(heard.append, self.number)
            assert not handle.cancelled()

    async def handle(number: int) -> None:
        begun.append(number)

    def work(loop: asyncio.AbstractEventLoop) -> None:
        threshold = gc.get_threshold()
        for number in range(500):
            # How far it is to the next collection decides where in the making it comes.
            gc.set_threshold(1_000_000)
            Cycle(loop, number)
            gc.set_threshold(gc.get_count()[0] + number % 20)
            _tasks.begin(loop, handle(number), context_of_a_handler())
        gc.set_threshold(*threshold)
        gc.collect()

    from_the_loop(work)
    assert begun == list(range(500)) and sorted(heard) == list(range(500))


def test_a_call_soon_of_the_programs_own_on_the_loop_stays_and_is_asked():
    asked: List[Any] = []
    begun: List[str] = []

    async def handle() -> None:
        begun.append(where.get())

    def work(loop: asyncio.AbstractEventLoop) -> None:
        def call_soon(callback: Any, *arguments: Any, **options: Any) -> Any:
            asked.append(callback)
            return type(loop).call_soon(loop, callback, *arguments, **options)

        loop.call_soon = call_soon  # type: ignore[method-assign]
        assert not _tasks.makes_plain_tasks(loop)
        _tasks.make(loop, handle(), context_of_a_handler(), False)
        assert loop.call_soon is call_soon and len(asked) == 1

    from_the_loop(work)
    assert begun == ["handler"]
