"""Forks by handlers, and multiprocessing: children with silos of their own call the parent's. Each test is a process of
its own with a limit; the rows are those of docs/FAILURES.md."""

import pathlib

import pytest

from support import ends_well
from test_forks import FORKS, START

FAMILY = """
import concurrent.futures, contextlib, multiprocessing, os, sys, quark
from quark import blocking

def echo(request):
    return request.payload

def upper(request):
    return request.payload.upper()

def as_silo(seed, text):
    url = f"gossip://127.0.0.1:0?seed={seed}"
    with blocking.Silo(f"child-{text}", membership=url, handlers={"Child": echo}) as silo:
        return silo.call("Parent", text, "", text.encode(), timeout=20)

def as_client(seed, text):
    with blocking.Client(membership=f"gossip://127.0.0.1:0?seed={seed}") as client:
        return client.call("Parent", text, "", text.encode(), timeout=20)

def inherited(seed, text):
    return parent.call("Parent", text, "", text.encode(), timeout=20)

def failing(seed, text):
    raise quark.PayloadTooLargeError(text, delivered="yes")

@contextlib.contextmanager
def seed_of_parent():
    global parent
    with blocking.Silo("parent", membership="gossip://127.0.0.1:0", handlers={"Parent": upper}) as parent:
        yield parent.silos()[0].labels["quark.gossip"]
"""


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
@pytest.mark.parametrize("child", ["as_silo", "as_client"])
def test_children_of_multiprocessing_call_their_parents_silo(way: str, child: str, tmp_path: pathlib.Path):
    program = f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("{way}")
    if "{way}" == "forkserver":
        context.set_forkserver_preload(["quark"])  # Imported there, and forked, before it is started in the child.
    with seed_of_parent() as seed, context.Pool(2) as pool:
        for _ in range(2):
            assert pool.starmap({child}, [(seed, text) for text in "abc"]) == [b"A", b"B", b"C"]
        pool.close()
        pool.join()
"""
    ends_well(FAMILY + program, folder=tmp_path)


def test_workers_of_a_process_pool_call_their_parents_silo(tmp_path: pathlib.Path):
    program = """
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with seed_of_parent() as seed, concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(as_silo, [seed] * 3, "abc")) == [b"A", b"B", b"C"]
        error = pool.submit(failing, seed, "as it was").exception()
        assert type(error) is quark.PayloadTooLargeError and error.delivered == "yes" and "as it was" in str(error)
"""
    ends_well(FAMILY + program, folder=tmp_path)


def test_row_25_a_forked_worker_says_what_to_do_instead(tmp_path: pathlib.Path):
    program = """
if __name__ == "__main__":
    with seed_of_parent() as seed:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for child in (inherited, as_silo, as_client):
                try:
                    pool.starmap(child, [(seed, text) for text in "abc"])
                except quark.NotRunningError as error:
                    assert "start it after the fork, or use spawn" in str(error)
                else:
                    raise AssertionError(child)
            pool.close()
            pool.join()
        assert inherited(seed, "a") == b"A"
"""
    ends_well(FAMILY + program, folder=tmp_path, flags=FORKS)


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_row_25_a_handler_may_fork(kind: str):
    call = "silo.call" if kind == "def" else "await silo.call"
    ends_well(
        START
        + f"""
import asyncio

{kind} forking(request):
    if request.method_name == "inner":
        return b"inner"
    child = os.fork()
    if child == 0:
        code = 100
        try:
            {"silo.call('T', '1', 'inner')" if kind == "def" else "asyncio.run(silo.call('T', '1', 'inner'))"}
        except quark.NotRunningError:
            code = 0
        finally:
            os._exit(code)
    return b"%d" % ended(child) + {call}("T", request.actor_id, "inner", timeout=20)

async def main():
    global silo
    async with quark.Silo("a", membership="memory://a", handler=forking) as silo:
        calls = [silo.call("T", str(i), "", timeout=20) for i in range(20)]
        assert await asyncio.gather(*calls) == [b"0inner"] * 20

def main_blocking():
    global silo
    with blocking.Silo("a", membership="memory://a", handler=forking) as silo:
        for i in range(20):
            assert silo.call("T", str(i), "", timeout=20) == b"0inner"

{"main_blocking()" if kind == "def" else "asyncio.run(main())"}
""",
        flags=FORKS,
    )


@pytest.mark.parametrize("way", ["return b'child'", "sys.exit(3)", "raise ValueError"])
def test_row_25_a_child_forked_by_a_handler_answers_nothing_and_does_not_stay(way: str):
    """The thread that forked is the child's only one; when its handler is through, nothing is left to do."""
    ends_well(
        START
        + f"""
import time

def forking(request):
    child = os.fork()
    if child == 0:
        sys.stderr = open(os.devnull, "w")
        {way}
    end = time.monotonic() + 10
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return b"it stayed"
        time.sleep(0.01)  # There is no wait for a child with a limit.
    return b"parent"

with blocking.Silo("host", membership="memory://a", handlers={{"T": forking}}) as host:
    with blocking.Client(membership="memory://a") as client:
        assert client.call("T", "1", "", timeout=20) == b"parent"
        assert host.call("T", "1", "", timeout=20) == b"parent"
""",
        flags=FORKS,
    )


def test_row_25_a_child_that_stays_does_not_keep_what_its_parent_gives_up():
    """The child has copies of all descriptors; the parent's port is free and its links are closed all the same."""
    ends_well(
        START
        + """
import signal
url = "memory://a"
host = blocking.Silo("host", membership=url, handlers={"T": echo})
host.start()
endpoint = host.endpoint
child = os.fork()
if child == 0:
    signal.pause()
try:
    host.stop()
    with blocking.Silo("again", membership=url, handlers={"T": echo}, listen=endpoint) as again:
        with blocking.Client(membership=url) as client:
            assert client.call("T", "1", "", b"x", timeout=20) == b"x"
finally:
    os.kill(child, 9)
    os.waitpid(child, 0)
""",
        flags=FORKS,
    )
