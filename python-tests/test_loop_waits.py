"""What an event loop waits for beside messages while these keep coming, and it drives Quark meanwhile: everything else is seen as
ever. Each test is a process of its own with a limit."""

import pytest

from support import ends_well

LOOPS = ["asyncio", "uvloop"]

COMMON = """
import asyncio, os, signal, socket, subprocess, sys, threading, time, quark
from quark import blocking
from {loops} import run

url = "memory://waits"
messages = []

async def handler(request):
    return request.payload

def plain(request):
    return request.payload

async def messages_come(caller):
    while True:
        assert await caller.call("T", "1", "", b"x") == b"x"
        messages.append(1)
        await asyncio.sleep(0.002)  # So that the loop waits, and not for long.

async def among_messages(work):
    async with quark.Silo("a", membership=url, handlers={"T": handler, "Plain": plain}) as silo:
        async with quark.Client(membership=url) as client:
            coming = asyncio.ensure_future(messages_come(client))
            while len(messages) < 10:
                await asyncio.sleep(0)
            count = len(messages)
            try:
                await work(silo)
                while len(messages) < count + 10:
                    await asyncio.sleep(0.001)
            finally:
                coming.cancel()

async def soon(event):
    await asyncio.wait_for(event.wait(), 20)
"""


def program(loops: str, code: str) -> str:
    return COMMON.replace("{loops}", loops) + code


@pytest.mark.parametrize("loops", LOOPS)
def test_descriptors_timers_threads_signals_and_children_are_seen(loops: str):
    ends_well(
        program(
            loops,
            """
async def everything_else(silo):
    loop = asyncio.get_running_loop()

    woken = asyncio.Event()
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, [woken.set])
    thread.start()
    await soon(woken)

    own, others = socket.socketpair()
    own.setblocking(False)
    read, whole = [], asyncio.Event()

    def one_byte():
        read.append(own.recv(1))
        if len(read) == 5:
            whole.set()

    loop.add_reader(own, one_byte)
    others.send(b"abcde")  # At once: it is told again while there is more.
    await soon(whole)
    assert b"".join(read) == b"abcde"
    loop.remove_reader(own)
    others.close()
    own.close()

    timers, last = [], asyncio.Event()
    for delay in (0.03, 0.01, 0.02):
        loop.call_later(delay, timers.append, delay)
    loop.call_later(0.04, last.set)
    await soon(last)
    assert timers == [0.01, 0.02, 0.03]

    signalled = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, signalled.set)
    threading.Timer(0.01, os.kill, [os.getpid(), signal.SIGUSR1]).start()
    await soon(signalled)

    child = await asyncio.create_subprocess_exec("echo", "child", stdout=subprocess.PIPE)
    assert await asyncio.wait_for(child.communicate(), 20) == (b"child\\n", None)

run(among_messages(everything_else))
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_while_its_loop_blocks_a_silo_answers_on_its_other_threads(loops: str):
    """The loop drove, and comes back only when another thread has had its answer."""
    ends_well(
        program(
            loops,
            """
async def block(silo):
    for _ in range(5):
        answered = threading.Event()

        def call_from_elsewhere():
            with blocking.Client(membership=url) as client:
                assert client.call("Plain", "1", "", b"y", timeout=20) == b"y"
            answered.set()

        thread = threading.Thread(target=call_from_elsewhere)
        thread.start()
        assert answered.wait(20), "nobody drives while the loop blocks"
        thread.join()
        await asyncio.sleep(0.02)

run(among_messages(block))
""",
        )
    )


def test_ctrl_c_ends_asyncio_run_while_messages_come():
    ends_well(
        program(
            "asyncio",
            """
async def interrupt(silo):
    threading.Timer(0.01, os.kill, [os.getpid(), signal.SIGINT]).start()
    await asyncio.sleep(20)
    raise AssertionError("nothing has interrupted it")

try:
    run(among_messages(interrupt))
except KeyboardInterrupt:
    sys.exit(0)
raise AssertionError("no KeyboardInterrupt")
""",
        )
    )


@pytest.mark.parametrize("handling", ["SIG_DFL", "SIG_IGN", "broken.append"])
def test_a_broken_link_raises_no_sigpipe_in_the_program(handling: str):
    """Nor is it blocked there, which what the program starts would inherit."""
    handling = f"signal.{handling}" if handling.startswith("SIG") else f"lambda *signal: {handling}(signal)"
    ends_well(
        program(
            "asyncio",
            f"""
PEER = '''
import sys, quark
from quark import blocking
silo = blocking.Silo("peer", membership="static://", handler=lambda request: request.payload)
silo.start()
print(silo.endpoint, flush=True)
sys.stdin.read()
'''

blocked, broken = set(), []

def look(request):
    blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    return b""

async def main():
    async with quark.Silo("a", membership="memory://pipes", handler=look) as silo:
        for i in range(20):
            await silo.call("T", str(i), "")
        signal.signal(signal.SIGPIPE, {handling})  # While all that drive are at it.
        for i in range(20):
            await asyncio.wait_for(silo.call("T", str(i), ""), 20)
    for _ in range(3):
        peer = subprocess.Popen([sys.executable, "-c", PEER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        address = peer.stdout.readline().strip()
        async with quark.Client(membership=f"static://peer@{{address}}") as client:
            calls = [asyncio.ensure_future(keep_calling(client, i)) for i in range(20)]
            while len(messages) < 200:
                await asyncio.sleep(0)
            peer.kill()
            for call in calls:
                await call
        peer.wait()
        peer.stdout.close()
        peer.stdin.close()
        messages.clear()
    blocked.update(signal.pthread_sigmask(signal.SIG_BLOCK, []))
    assert signal.SIGPIPE not in blocked, blocked
    assert not broken

async def keep_calling(client, i):
    while True:
        try:
            await client.call("T", str(i), "", b"x" * 1000, timeout=1)
            messages.append(i)
        except quark.QuarkError:
            return

run(main())
""",
        )
    )


def test_where_another_has_put_its_own_way_to_wait_it_stays():
    ends_well(
        program(
            "asyncio",
            """
loop = asyncio.new_event_loop()
waited = []

def select(timeout=None, ready=loop._selector.select):
    waited.append(timeout)
    return ready(timeout)

loop._selector.select = select

async def nothing(silo):
    pass

loop.run_until_complete(among_messages(nothing))
assert loop._selector.select is select and len(waited) > 20
loop.close()
""",
        )
    )
