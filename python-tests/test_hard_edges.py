"""The host's life: forks, exits, signals; each in a process of its own with a limit."""

import os
import signal
import subprocess
import sys
import time

from support import run_child


def ends_well(code: str) -> str:
    ended = run_child(code)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def test_a_forked_child_does_not_run_and_leaves_the_parent_alone():
    ends_well(
        """
        import os, quark
        from quark import blocking
        silo = blocking.Silo("a", membership="memory://fork", handler=lambda request: request.payload)
        silo.start()
        child = os.fork()
        if child == 0:
            try:
                silo.call("T", "1", "")
            except quark.NotRunningError as error:
                os._exit(0 if "fork" in str(error) else 2)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert silo.call("T", "1", "", b"x") == b"x"
        silo.stop()
        """
    )


def test_exit_with_calls_in_flight_and_a_silo_that_was_not_stopped():
    began = time.monotonic()
    ends_well(
        """
        import asyncio, quark
        async def never(request):
            await asyncio.get_running_loop().create_future()
        silo = quark.Silo("a", membership="memory://exit", handler=never)
        async def main():
            await silo.start()
            calls = [asyncio.ensure_future(silo.call("T", str(i), "")) for i in range(100)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        asyncio.run(main())
        """
    )
    assert time.monotonic() - began < 15


def test_a_blocking_silo_dropped_without_stop_exits():
    ends_well(
        """
        from quark import blocking
        silo = blocking.Silo("a", membership="gossip://127.0.0.1:0", handler=lambda request: request.payload)
        silo.start()
        assert silo.call("T", "1", "", b"x") == b"x"
        """
    )


def test_a_loop_closed_under_a_silo():
    ends_well(
        """
        import asyncio, quark
        async def echo(request):
            return request.payload
        async def start():
            silo = quark.Silo("a", membership="memory://closed", handler=echo)
            await silo.start()
            return silo
        silo = asyncio.run(start())
        async def again():
            try:
                await silo.call("T", "1", "", timeout=0.2)
            except quark.QuarkTimeoutError:
                pass
            await silo.stop(0.1)
        asyncio.run(again())
        """
    )


def test_ctrl_c_interrupts_a_blocking_call():
    code = """
import time
from quark import blocking
silo = blocking.Silo("a", membership="memory://ctrl", handler=lambda request: time.sleep(2))
silo.start()
print("ready", flush=True)
try:
    silo.call("T", "1", "", timeout=25)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.3)  # Inside the call; there is no event for that from outside.
        os.kill(child.pid, signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(15) == 0
    finally:
        child.kill()
        child.stdout.close()


def test_many_lives_do_not_grow():
    ends_well(
        """
        import gc, os, threading, weakref
        from quark import blocking
        def life(i):
            silo = blocking.Silo("a", membership="memory://lives", handler=lambda request: request.payload)
            with silo:
                assert silo.call("T", "1", "", b"x") == b"x"
            return weakref.ref(silo)
        def descriptors():
            return len(os.listdir("/proc/self/fd"))
        life(0)
        before = descriptors()
        refs = [life(i) for i in range(50)]
        gc.collect()
        assert all(ref() is None for ref in refs)
        assert descriptors() <= before + 4, (before, descriptors())
        """
    )


def test_many_loops_do_not_grow():
    ends_well(
        """
        import asyncio, gc, os, weakref, quark
        async def echo(request):
            return request.payload
        async def life():
            async with quark.Silo("a", membership="memory://loops", handler=echo) as silo:
                assert await silo.call("T", "1", "", b"x") == b"x"
            return weakref.ref(asyncio.get_running_loop()), weakref.ref(silo)
        def descriptors():
            gc.collect()
            return len(os.listdir("/proc/self/fd"))
        asyncio.run(life())
        before = descriptors()
        refs = [asyncio.run(life()) for _ in range(50)]
        assert descriptors() <= before + 4, (before, descriptors())
        assert all(loop() is None and silo() is None for loop, silo in refs)
        """
    )


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
