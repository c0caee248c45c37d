"""Event loops: several at once, tasks cancelled and timed out; on asyncio's loop and on uvloop's.
Each test is a process of its own with a limit; the rows are those of docs/FAILURES.md."""

import sys

import pytest

from support import ends_well

LOOPS = ["asyncio", "uvloop"]

COMMON = """
import asyncio, contextvars, os, sys, threading, time, weakref, gc, quark
from quark import blocking
from {loops} import run

url = "memory://loops"
entered = []

async def handler(request):
    entered.append(request.method_name)
    if request.method_name == "never":
        await asyncio.get_running_loop().create_future()
    if request.method_name == "fail":
        raise ValueError("as asked")
    return request.payload

async def soon(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        await asyncio.sleep(0.001)

async def started(**options):
    silo = quark.Silo("a", membership=url, **(options or dict(handler=handler)))
    await silo.start()
    return silo

async def nothing_pending(silo):
    # A stop waits for what runs, and nothing does.
    began = time.monotonic()
    await silo.stop(drain=15)
    assert time.monotonic() - began < 5
"""


def program(loops: str, code: str) -> str:
    return COMMON.replace("{loops}", loops) + code


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("node", ["silo", "client"])
def test_row_26_a_cancelled_task_gives_its_call_up(loops: str, node: str):
    ends_well(
        program(
            loops,
            f"""
async def main():
    silo, client = await started(), quark.Client(membership=url)
    await client.start()
    calls = [asyncio.ensure_future({node}.call("T", str(i), "never")) for i in range(100)]
    await soon(lambda: len(entered) == 100)
    for call in calls:
        call.cancel()
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*calls, return_exceptions=True))
    try:
        await asyncio.wait_for({node}.call("T", "1", "never"), 0.05)
    except asyncio.TimeoutError:
        pass
    assert await asyncio.wait_for({node}.call("T", "1", "", b"x"), 20) == b"x"
    await nothing_pending(client)
    for task in asyncio.all_tasks() - {{asyncio.current_task()}}:
        task.cancel()  # The handlers.
    await nothing_pending(silo)

run(main())
""",
        )
    )


TIMEOUTS_AND_GROUPS = """
import logging
logging.disable()

async def main():
    silo = await started()
    try:
        async with asyncio.timeout(0.05):
            await silo.call("T", "1", "never")
    except TimeoutError as error:
        assert not isinstance(error, quark.QuarkError)
    try:
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(silo.call("T", str(i), "never")) for i in range(10)]
            await soon(lambda: len(entered) == 11)
            group.create_task(silo.call("T", "x", "fail"))
    except BaseExceptionGroup as problems:
        assert [type(error) for error in problems.exceptions] == [quark.HandlerFailedError]
    assert all(task.cancelled() for task in others)
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(silo.call("T", str(i), "", b"%d" % i)) for i in range(100)]
    assert [call.result() for call in calls] == [b"%d" % i for i in range(100)]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await nothing_pending(silo)

run(main())
"""

if sys.version_info >= (3, 11):  # asyncio has neither before.

    @pytest.mark.parametrize("loops", LOOPS)
    def test_row_26_timeouts_and_groups_as_asyncio_has_them(loops: str):
        ends_well(program(loops, TIMEOUTS_AND_GROUPS))


@pytest.mark.parametrize("loops", LOOPS)
def test_several_loops_and_threads_use_one_silo_at_once(loops: str):
    ends_well(
        program(
            loops,
            """
results = []

async def calling(silo, thread):
    replies = await asyncio.gather(*(silo.call("T", str(i), "", b"%d.%d" % (thread, i)) for i in range(200)))
    results.append(replies == [b"%d.%d" % (thread, i) for i in range(200)])
    events = silo.events()
    waiting = asyncio.ensure_future(events.__anext__())
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

async def main():
    silo, client = await started(), quark.Client(membership=url)
    await client.start()
    threads = [threading.Thread(target=lambda n=n: run(calling((silo, client)[n % 2], n))) for n in range(8)]
    for thread in threads:
        thread.start()
    await soon(lambda: not any(thread.is_alive() for thread in threads))
    assert results == [True] * 8
    await client.stop()
    await silo.stop()

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_handlers_see_the_context_in_which_their_silo_was_started(loops: str, kind: str):
    ends_well(
        program(
            loops,
            f"""
variable = contextvars.ContextVar("variable", default="nothing")

{kind} seen(request):
    found = variable.get().encode()
    variable.set("changed by " + request.actor_id)
    return found

async def main():
    described = quark.Silo("a", membership=url, handler=seen)
    variable.set("at the start")
    await described.start()
    variable.set("later")
    for i in range(20):
        assert await described.call("T", str(i % 4), "") == b"at the start"
    assert variable.get() == "later"
    await described.stop()

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_nothing_of_a_loop_is_kept_when_it_is_gone(loops: str):
    ends_well(
        program(
            loops,
            """
async def life():
    silo = await started()
    assert await silo.call("T", "1", "", b"x") == b"x"
    await silo.stop()
    return weakref.ref(silo), weakref.ref(asyncio.get_running_loop())

def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))

run(life())
before = descriptors()
gone = [run(life()) for _ in range(50)]
end = time.monotonic() + 20
while descriptors() > before:  # The last one's sockets are closed by another thread.
    assert time.monotonic() < end, (before, descriptors())
assert all(silo() is None and loop() is None for silo, loop in gone)
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_a_handler_runs_in_a_task_and_a_context_of_its_own_from_its_first_step_on(loops: str):
    ends_well(
        program(
            loops,
            """
mark = contextvars.ContextVar("mark", default="the loop's")
tasks = []

async def handler(request):
    # Before it has waited for anything, and after.
    for _ in range(2):
        task = asyncio.current_task()
        tasks.append(task)
        assert task in asyncio.all_tasks() and quark.current_request() is request
        assert mark.get() == "the start's"
        if sys.version_info >= (3, 11):
            async with asyncio.timeout(20):
                if request.method_name == "wait":
                    await asyncio.sleep(0.001)
    mark.set("a handler's")
    return request.payload

async def main():
    mark.set("the start's")
    async with quark.Silo("a", membership=url, handler=handler):
        mark.set("the caller's")
        async with quark.Client(membership=url) as client:
            for method in ("", "wait"):
                calls = [client.call("T", str(i), method, b"x") for i in range(50)]
                assert await asyncio.gather(*calls) == [b"x"] * 50
    assert mark.get() == "the caller's"
    assert len(tasks) == 200 and len(set(tasks)) == 100 and asyncio.current_task() not in tasks

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("caller", ["silo", "client"])
def test_requests_begin_in_order_wherever_the_loop_comes_by_them(loops: str, caller: str):
    ends_well(
        program(
            loops,
            f"""
order = []

async def handler(request):
    order.append(request.method_name)
    return b""

async def main():
    async with quark.Silo("a", membership=url, handler=handler) as silo:
        async with quark.Client(membership=url) as client:
            await client.call("T", "1", "begin")
            order.clear()

            first = asyncio.ensure_future(client.call("T", "1", "first"))
            await asyncio.sleep(0)
            time.sleep(0.2)  # It arrives while the loop is held up here, which nothing tells.
            # In the loop's next round a call from the loop itself finds the first on its way, alone or with a request of its own, and
            # the loop, which may have been told of the first only, the second.
            own = asyncio.ensure_future({caller}.call("T", "2", "own"))
            second = asyncio.ensure_future(client.call("T", "1", "second"))
            asyncio.get_running_loop().call_soon(time.sleep, 0.2)
            await asyncio.gather(own, second, first)
    assert order.index("first") < order.index("second"), order

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_a_reply_does_not_wait_for_the_handler_that_came_with_it(loops: str):
    ends_well(
        program(
            loops,
            """
heard = threading.Event()

async def handler(request):
    if request.method_name == "wait":
        assert heard.wait(10), "the other's reply"
    return b""

def first(client):
    client.call("T", "1", "reply")
    heard.set()

async def main():
    async with quark.Silo("a", membership=url, handler=handler):
        client = blocking.Client(membership=url)
        await asyncio.to_thread(client.start)
        await asyncio.to_thread(client.call, "T", "1", "reply")
        tasks = []
        for call in ((first, client), (client.call, "T", "2", "wait")):
            tasks.append(asyncio.ensure_future(asyncio.to_thread(*call)))
            await asyncio.sleep(0)
            time.sleep(0.1)  # They come one after the other, while the loop is held up.
        await asyncio.gather(*tasks)
        await asyncio.to_thread(client.stop)

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_a_handler_begins_where_it_arrives(loops: str):
    ends_well(
        program(
            loops,
            """
order = []

async def handler(request):
    order.append("a handler")
    return b""

async def main():
    loop = asyncio.get_running_loop()
    async with quark.Silo("a", membership=url, handler=handler):
        async with quark.Client(membership=url) as client:
            await client.call("T", "1", "m")
            order.clear()
            call = asyncio.ensure_future(client.call("T", "1", "m"))
            await asyncio.sleep(0)
            # The request arrives while the loop is held up here, which nothing tells. It finds it in its next round, which also does
            # this; what that leaves for the round after would come before a task that began in it.
            time.sleep(0.2)
            loop.call_soon(loop.call_soon, order.append, "the round after")
            await call
    assert order == ["a handler", "the round after"], order

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("factory", ["old", "eager"] if sys.version_info >= (3, 12) else ["old"])
def test_handlers_of_the_own_silo_run_in_tasks_of_the_programs_own_making(loops: str, factory: str):
    # What uvloop hands over beside the coroutine depends on the version of Python.
    more = ", **options" if loops == "uvloop" else ""
    ends_well(
        program(
            loops,
            f"""
made = []

def old(loop, coroutine{more}):
    task = asyncio.Task(coroutine, loop=loop)
    made.append(weakref.ref(task))
    return task

def eager(loop, coroutine, **options):
    options.pop("eager_start", None)
    task = asyncio.eager_task_factory(loop, coroutine, **options)
    made.append(weakref.ref(task))
    return task

async def chain(request):
    left = int(request.payload)
    if left == 0:
        return b"done"
    if request.method_name == "sleep":
        await asyncio.sleep(0)
    return await silo.call("T", str(left), request.method_name, str(left - 1).encode())

async def main():
    global silo
    silo = quark.Silo("a", membership=url, handler=chain)
    await silo.start()
    asyncio.get_running_loop().set_task_factory({factory})
    for method in ["", "sleep"]:
        assert await silo.call("T", "0", method, b"20") == b"done"
    # Who calls again and again lets the loop run, whenever its handlers begin.
    over = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, over.set_result, None)
    while not over.done():
        assert await silo.call("T", "1", "", b"0") == b"done"
    await silo.stop()
    asyncio.get_running_loop().set_task_factory(None)
    assert len(made) >= 42
    await soon(lambda: gc.collect() >= 0 and all(task() is None for task in made))

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("kind", ["silo", "client"])
def test_who_calls_again_at_once_after_each_failure_lets_the_loop_run(loops: str, kind: str):
    ends_well(
        program(
            loops,
            f"""
async def main():
    silo = await started(handlers=dict(Other=handler))
    client = quark.Client(membership=url)
    await client.start()
    over = False

    async def end():
        nonlocal over
        await asyncio.sleep(0.01)
        over = True

    ending = asyncio.create_task(end())
    failures = 0
    while not over:
        try:
            await {kind}.call("T", "1", "")
        except quark.QuarkError:
            failures += 1
    assert failures > 0
    await ending
    await client.stop()
    await silo.stop()

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_a_handlers_task_that_is_cancelled_before_it_begins_answers(loops: str):
    ends_well(
        program(
            loops,
            """
async def main():
    silo = await started()
    for _ in range(3):
        call = asyncio.create_task(silo.call("T", "1", "never"))
        # By now the handler has its task, and has not begun.
        await asyncio.sleep(0)
        tasks = asyncio.all_tasks() - {asyncio.current_task(), call}
        assert entered == [] and len(tasks) == 1
        tasks.pop().cancel()
        try:
            await asyncio.wait_for(call, 20)
        except quark.QuarkError as error:
            assert error.delivered == "no" or "without an answer" in error.message, error
        else:
            assert False
    await nothing_pending(silo)

run(main())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_what_tasks_send_that_go_on_together_leaves_although_one_of_them_takes_long(loops: str):
    ends_well(
        program(
            loops,
            """
seen, sent = [], []

def plain(request):
    seen.append(request.method_name)
    return b""

def wait(method, count):
    end = time.monotonic() + 20
    while seen.count(method) < count:
        assert time.monotonic() < end, (method, seen)
        time.sleep(0.001)

async def one(client, number):
    await client.call("T", number, "first")
    if len(sent) % 5 == 4:
        wait("second", len(sent))  # It is not meant to wait on its loop, and holds the others up.
    sent.append(number)
    await client.call("T", number, "second")

async def main():
    silo, client = await started(handler=plain), quark.Client(membership=url)
    await client.start()
    tasks = [asyncio.ensure_future(one(client, str(number))) for number in range(100)]
    await asyncio.sleep(0)
    # All that is answered is told at once.
    wait("first", 100)
    await asyncio.gather(*tasks)
    assert seen.count("second") == 100
    await client.stop()
    await nothing_pending(silo)

run(main())
""",
        )
    )



def test_what_ends_the_program_comes_out_of_the_call_in_which_it_is_raised():
    ends_well(
        program(
            "asyncio",
            """
def factory(loop, coroutine, context=None):
    if coroutine.__name__ == "handle":
        coroutine.close()
        raise SystemExit(7)
    return asyncio.Task(coroutine, loop=loop)

async def main():
    silo = await started()
    asyncio.get_running_loop().set_task_factory(factory)
    try:
        await silo.call("T", "1", "")
    except SystemExit as end:
        assert end.code == 7
    else:
        assert False
    asyncio.get_running_loop().set_task_factory(None)
    await silo.stop()

run(main())
""",
        )
    )


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("loops", LOOPS)
def test_the_caller_is_told_of_what_kept_a_handler_from_beginning(loops: str, count: int):
    """Also while somebody holds what was raised, and the request with it: one that came alone, and several."""
    ends_well(
        program(
            loops,
            """
raised = []

def factory(loop, coroutine, **options):
    if coroutine.__name__ == "handle":
        coroutine.close()
        raised.append(RuntimeError("no tasks today"))
        raise raised[-1]
    return asyncio.Task(coroutine, loop=loop, **options)

async def main():
    silo = await started()
    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    loop.set_exception_handler(lambda loop, context: raised.append(context))
    with blocking.Client(membership=url) as client:
        def call():
            try:
                client.call_many([("T", str(i), "") for i in range(COUNT)], timeout=20)
            except quark.HandlerFailedError as error:
                return str(error)
        told = await loop.run_in_executor(None, call)
    assert told and "RuntimeError: no tasks today" in told, told
    loop.set_task_factory(None)
    await silo.stop()

run(main())
""".replace("COUNT", str(count)),
        )
    )
