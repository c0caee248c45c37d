"""Forks and child processes: what was started before a fork does not run in the child, and the parent does not notice.
Each test is a process of its own with a limit; the rows are those of docs/FAILURES.md."""

import pytest

from support import ends_well

#: CPython 3.12 and later warn of each fork of a process that has threads; these programs mean it.
FORKS = ("-W", "ignore::DeprecationWarning")

START = """
import os, sys, quark
from quark import blocking

def echo(request):
    return request.payload

def refused(verb):
    try:
        verb()
    except quark.NotRunningError as error:
        return "fork" in str(error) and error.delivered == "no" and not error.retryable
    return False

def ended(child):
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
"""


def test_row_25_in_a_forked_child_every_verb_says_not_running():
    ends_well(
        START
        + """
url = "memory://fork"
silo, client = blocking.Silo("a", membership=url, handler=echo), blocking.Client(membership=url)
silo.start()
client.start()
unstarted = blocking.Silo("b", membership=url, handler=echo)
child = os.fork()
if child == 0:
    verbs = [unstarted.start, lambda: blocking.Silo("c", membership=url, handler=echo).start()]
    verbs += [lambda: blocking.Client(membership=url).start()]
    for caller in (silo, client):
        verbs += [
            lambda: caller.call("T", "1", ""),
            lambda: caller.notify("T", "1", ""),
            lambda: caller.send(quark.Envelope(actor_type="T", actor_id="1")),
            lambda: caller.owner("T", "1"),
            caller.silos,
            caller.start,
        ]
        verbs.append(caller.stop)
        if caller.is_running or "not running" not in repr(caller):
            os._exit(100)
    os._exit(next((n for n, verb in enumerate(verbs, 1) if not refused(verb)), 0))
assert ended(child) == 0, "the number of the verb that worked"
for caller in (silo, client):
    assert caller.is_running and caller.call("T", "1", "", b"x") == b"x"
client.stop()
silo.stop()
""",
        flags=FORKS,
    )


VERBS = """
import asyncio
url = "memory://fork"

async def all_refuse(silo, membership, transport):
    envelope = quark.Envelope(actor_type="T", actor_id="1")
    verbs = [
        lambda: silo.call("T", "1", ""),
        lambda: silo.notify("T", "1", ""),
        lambda: silo.send(envelope),
        silo.events().__anext__,
        silo.start,
        silo.stop,
        quark.Silo("b", membership=url, handler=echo).start,
        quark.Client(membership=url).start,
        membership.stop,
        lambda: quark.Membership(url).start("c"),
        lambda: transport.send("t", envelope),
        transport.stop,
        quark.Transport("u", handler=echo).start,
    ]
    for number, verb in enumerate(verbs, 1):
        try:
            await verb()
        except quark.NotRunningError as error:
            if "fork" in str(error):
                continue
        except Exception:
            pass
        return number
    return 0
"""


@pytest.mark.parametrize("loop", ["its own loop", "the coroutine that forked"])
def test_row_25_in_a_forked_child_every_verb_of_asyncio_says_not_running(loop: str):
    """The coroutine that forked goes on in the child, where its loop does not run."""
    in_child = "asyncio.run(all_refuse(*parts))" if loop == "its own loop" else "await all_refuse(*parts)"
    ends_well(
        START
        + VERBS
        + f"""
async def main():
    silo, membership = quark.Silo("a", membership=url, handler=echo), quark.Membership("memory://alone")
    transport = quark.Transport("t", handler=echo, listen="127.0.0.1:0")
    parts = silo, membership, transport
    await silo.start()
    await membership.start("m", "127.0.0.1:1")
    await transport.start()
    child = os.fork()
    if child == 0:
        code = 100
        try:
            code = {in_child}
        finally:
            os._exit(code)
    assert ended(child) == 0, "the number of the verb that did something else"
    assert await silo.call("T", "1", "", b"x") == b"x"
    for part in parts:
        await part.stop()

asyncio.run(main())
""",
        flags=FORKS,
    )


WAYS = ["sys.exit(3)", "os._exit(3)", "raise SystemExit(3)", "os.kill(os.getpid(), 9)", "pass"]


@pytest.mark.parametrize("way", WAYS)
def test_row_25_how_the_child_ends_disturbs_nothing(way: str):
    """What the child inherits is taken apart in it, in whatever order, while calls are under way in the parent."""
    out = ends_well(
        START
        + f"""
import asyncio, atexit, threading
url, parent = "memory://fork", os.getpid()
atexit.register(lambda: print("exit", "parent" if os.getpid() == parent else "child", flush=True))
membership, transport = quark.Membership("memory://alone"), quark.Transport("t", handler=echo, listen="127.0.0.1:0")

async def start():
    await membership.start("m", "127.0.0.1:1")
    await transport.start()

asyncio.run(start())
host = blocking.Silo("host", membership=url, handlers={{"T": echo}})
silo = blocking.Silo("silo", membership=url, handlers={{"Other": echo}})
client = blocking.Client(membership=url)
for node in (host, silo, client):
    node.start()
going, made, wrong = True, [0] * 3, []

def calls(n, node):
    while going:
        if node.call("T", str(made[n]), "", b"%d" % made[n], timeout=20) != b"%d" % made[n]:
            wrong.append(n)
        made[n] += 1

threads = [threading.Thread(target=calls, args=pair) for pair in enumerate((host, silo, client))]
for thread in threads:
    thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        threading.excepthook = sys.excepthook = print
        {way}
        sys.exit(3)
    assert ended(child) == {-9 if "kill" in way else 3}
    after = [n + 20 for n in made]
    while any(n < limit for n, limit in zip(made, after)):
        threads[0].join(0.001)
going = False
for thread in threads:
    thread.join()
assert not wrong
for node in (client, silo, host):
    node.stop()
asyncio.run(transport.stop())
asyncio.run(membership.stop())
""",
        flags=FORKS,
    )
    quiet = way.startswith("os.")
    assert sorted(out.split("\n")) == sorted(["", "exit parent"] + ([] if quiet else ["exit child"] * 10))


def test_row_25_a_child_may_leave_the_block_in_which_the_silo_runs():
    """Its silo is not there to be stopped, and what the child wanted to say gets out."""
    ends_well(
        START
        + """
with blocking.Silo("a", membership="memory://a", handler=echo), blocking.Client(membership="memory://a"):
    child = os.fork()
    if child == 0:
        sys.exit(3)
    assert ended(child) == 3
""",
        flags=FORKS,
    )


def test_row_25_a_child_may_leave_the_block_of_a_coroutine():
    ends_well(
        START
        + """
import asyncio

async def main():
    async with quark.Silo("a", membership="memory://a", handler=echo) as silo:
        child = os.fork()
        if child == 0:
            raise ArithmeticError
        assert ended(child) == 4
        assert await silo.call("T", "1", "", b"x") == b"x"

try:
    asyncio.run(main())
except ArithmeticError:
    os._exit(4)
""",
        flags=FORKS,
    )


def test_row_25_before_quark_was_started_a_fork_is_like_any_other():
    """Imported is not started, and neither is a silo that was only described."""
    ends_well(
        START
        + """
described = blocking.Silo("described", membership="memory://a", handler=echo)
for code in (5, 6):
    child = os.fork()
    if child == 0:
        with described, blocking.Client(membership="memory://a") as client:
            assert client.call("T", "1", "", b"x", timeout=20) == b"x"
        sys.exit(code)
    assert ended(child) == code
with described:
    assert described.call("T", "1", "", b"x", timeout=20) == b"x"
"""
    )
