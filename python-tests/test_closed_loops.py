"""Event loops that end before what was begun on them. Each test is a process of its own with a limit; the rows are
those of docs/FAILURES.md."""

import pytest

from support import ends_well
from test_loops import LOOPS, program


@pytest.mark.parametrize("loops", LOOPS)
def test_row_26_a_loop_closed_under_a_silo(loops: str):
    """Its coroutine handlers cannot run any more; all else does, from whichever loop."""
    ends_well(
        program(
            loops,
            """
silo = run(started(handlers={"Async": handler, "Plain": lambda request: request.payload}))

async def again():
    async with quark.Client(membership=url) as client:
        for node in (silo, client):
            assert await node.call("Plain", "1", "", b"x", timeout=20) == b"x"
            for _ in range(3):
                try:
                    await node.call("Async", "1", "", timeout=0.2)
                except quark.QuarkError as error:
                    assert error.code
                else:
                    raise AssertionError("it ran on a closed loop")

run(again())
run(again())

async def stop():
    await silo.stop(0.1)
    assert not silo.is_running

run(stop())
assert entered == []
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_row_26_calls_in_flight_when_their_loop_closes(loops: str):
    """What their deadlines bring finds no loop, and nothing happens."""
    ends_well(
        program(
            loops,
            """
async def main():
    silo = await started(handlers={"Async": handler, "Plain": lambda request: time.sleep(0.2)})
    calls = [silo.call("Async", str(i), "never", timeout=0.2) for i in range(100)]
    calls += [silo.call("Plain", str(i), "", timeout=0.1) for i in range(4)]
    calls = [asyncio.ensure_future(call) for call in calls]
    await soon(lambda: len(entered) == 100)
    return silo

async def other():
    async with quark.Client(membership=url) as client:
        assert await client.call("Plain", "1", "", timeout=20) == b""
    await nothing_pending(silo)

for _ in range(3):
    entered.clear()
    silo = run(main())
    run(other())
""",
        )
    )


@pytest.mark.parametrize("loops", LOOPS)
def test_row_26_a_stop_does_not_wait_for_what_a_closed_loop_should_have_done(loops: str):
    ends_well(
        program(
            loops,
            """
silo = run(started())

async def other():
    async with quark.Client(membership=url) as client:
        try:
            await client.call("T", "1", "", timeout=0.2)
        except quark.QuarkError:
            pass
    await nothing_pending(silo)

run(other())
""",
        )
    )
