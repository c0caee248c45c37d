"""What handlers raise and return: the caller is told, the silo lives. Each test is a process of its own with a limit;
the rows are those of docs/FAILURES.md."""

import pytest

from support import ends_well, run_child

COMMON = """
import asyncio, gc, logging, sys, threading, time, quark
from quark import blocking

url = "memory://handlers"
log = []

class Log(logging.Handler):
    def emit(self, record):
        log.append(self.format(record))

logging.getLogger("quark.handler").addHandler(Log())

class Own(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise ArithmeticError("nobody may know")

def handle(request):
    what = request.method_name
    if what == "echo":
        return request.payload
    if what.startswith("raise "):
        raise eval(what[6:])
    return eval(what)

async def handle_async(request):
    return handle(request)

def failure(ended):
    assert isinstance(ended, quark.HandlerFailedError), ended
    assert (ended.delivered, ended.retryable) == ("yes", False)
    return ended.message
"""

RAISED = {
    "raise SystemExit(3)": "SystemExit: 3",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit": "GeneratorExit",
    "raise Own('mine')": "Own: mine",
    "raise StopIteration(5)": "StopIteration",
    "raise asyncio.CancelledError": "CancelledError",
    "raise Mute": "Mute",
    "raise quark.OverloadedError('not here')": "OverloadedError: OVERLOADED: not here",
}
#: In a task these two end the loop: a rule of asyncio's, with a test of its own.
ENDING = ["raise SystemExit(3)", "raise KeyboardInterrupt"]


@pytest.mark.parametrize("raised", RAISED)
def test_row_7_whatever_a_plain_handler_raises_is_an_answer(raised: str):
    ends_well(
        COMMON
        + f"""
with blocking.Silo("a", membership=url, handler=handle) as silo, blocking.Client(membership=url) as client:
    for node in (silo, client):
        try:
            node.call("T", "1", {raised!r}, timeout=20)
        except quark.QuarkError as error:
            assert {RAISED[raised]!r} in failure(error), error
        assert node.call("T", "1", "echo", b"x", timeout=20) == b"x"
assert len(log) == 2 and all("Traceback" in line for line in log), log
"""
    )


@pytest.mark.parametrize("raised", [raised for raised in RAISED if raised not in ENDING])
def test_row_7_whatever_a_coroutine_raises_is_an_answer(raised: str):
    text = "RuntimeError: coroutine raised StopIteration" if "StopIteration" in raised else RAISED[raised]
    ends_well(
        COMMON
        + f"""
async def main():
    async with quark.Silo("a", membership=url, handler=handle_async) as silo:
        async with quark.Client(membership=url) as client:
            for node in (silo, client):
                try:
                    await node.call("T", "1", {raised!r}, timeout=20)
                except quark.QuarkError as error:
                    assert {text!r} in failure(error), error
                assert await node.call("T", "1", "echo", b"x", timeout=20) == b"x"

asyncio.run(main())
gc.collect()
assert len(log) == (0 if "Cancelled" in {raised!r} else 2) and all("Traceback" in line for line in log), log
"""
    )


@pytest.mark.parametrize("raised", ENDING)
def test_row_7_what_ends_the_loop_is_an_answer_too_and_the_silo_lives(raised: str):
    """SystemExit and KeyboardInterrupt in a task end the loop, whoever started it; `asyncio.run` raises them. What does
    not need that loop goes on."""
    ends_well(
        COMMON
        + f"""
ended = []

def call():
    with blocking.Client(membership=url) as client:
        try:
            client.call("T", "1", {raised!r}, timeout=20)
        except quark.QuarkError as error:
            ended.append(error)

async def main():
    global silo, thread
    silo = quark.Silo("a", membership=url, handlers={{"T": handle_async, "Plain": handle}})
    await silo.start()
    thread = threading.Thread(target=call)
    thread.start()
    await asyncio.sleep(30)

try:
    asyncio.run(main())
except (SystemExit, KeyboardInterrupt) as error:
    assert {raised!r}.startswith("raise " + type(error).__name__)
else:
    raise AssertionError
thread.join()
assert {RAISED[raised]!r} in failure(ended[0])

async def again():
    assert silo.is_running and await silo.call("Plain", "1", "echo", b"x", timeout=20) == b"x"
    await silo.stop()

asyncio.run(again())
gc.collect()
"""
    )


@pytest.mark.parametrize("returned", ["'text'", "5", "object()", "[b'x']", "print"])
@pytest.mark.parametrize("kind", ["handle", "handle_async"])
def test_row_7_what_is_no_reply_is_a_failure(kind: str, returned: str):
    ends_well(
        COMMON
        + f"""
async def main():
    async with quark.Silo("a", membership=url, handler={kind}) as silo:
        try:
            await silo.call("T", "1", {returned!r}, timeout=20)
        except quark.QuarkError as error:
            assert "reply" in failure(error), error
        else:
            raise AssertionError
        assert await silo.call("T", "1", "echo", b"x", timeout=20) == b"x"

asyncio.run(main())
"""
    )


@pytest.mark.parametrize("kind", ["handle", "handle_async"])
def test_row_7_a_log_that_raises_costs_no_answer(kind: str):
    ended = run_child(
        COMMON
        + f"""
class Broken(logging.Handler):
    def emit(self, record):
        raise RuntimeError("no room in the log")

logging.getLogger("quark").addHandler(Broken())
logging.getLogger("quark").setLevel(logging.DEBUG)

async def main():
    async with quark.Silo("a", membership=url, handler={kind}) as silo:
        for _ in range(3):
            try:
                await silo.call("T", "1", "raise ValueError('as asked')", timeout=20)
            except quark.QuarkError as error:
                assert "ValueError: as asked" in failure(error), error
            assert await silo.call("T", "1", "echo", b"x", timeout=20) == b"x"

asyncio.run(main())
print("well")
"""
    )
    assert (ended.returncode, ended.stdout) == (0, "well\n"), ended.stderr
    assert "no room in the log" in ended.stderr and "Fatal" not in ended.stderr, ended.stderr


def test_the_log_arrives_in_logging():
    out = ends_well(
        """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
        from quark import blocking
        with blocking.Silo("a", membership="memory://log", handler=print):
            pass
        """
    )
    assert "quark.silo INFO started silo=a endpoint=127.0.0.1:" in out and "quark.silo INFO stopped" in out


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_row_9_a_handler_may_drop_the_last_that_holds_its_silo(kind: str):
    """The silo ends without a farewell; whoever called gets the reply, or learns that the silo is gone."""
    ends_well(
        COMMON
        + f"""
import warnings
warnings.simplefilter("ignore", ResourceWarning)  # It is not stopped, on purpose.
held, dropped = [], threading.Event()

{kind} dropping(request):
    held.clear()
    gc.collect()
    dropped.set()
    return b"bye"

async def main():
    async with quark.Client(membership=url) as client:
        for i in range(20):
            held.append(quark.Silo("a", membership=url, handler=dropping))
            await held[0].start()
            while not client.silos():
                await asyncio.sleep(0.001)
            dropped.clear()
            try:
                assert await client.call("T", "1", "", timeout=20) == b"bye"
            except quark.QuarkError as error:
                assert error.delivered in ("unknown", "yes"), error
            while client.silos() or not dropped.is_set():
                await asyncio.sleep(0.001)

asyncio.run(main())
"""
    )
