"""Event loops at work when the interpreter ends; as in test_exits.py."""

from test_exits import ends


def test_row_26_a_thousand_calls_of_asyncio_in_flight():
    ends(
        """
entered = []

async def never(request):
    entered.append(request)
    await asyncio.get_running_loop().create_future()

async def main():
    global silo, calls
    silo, client = quark.Silo("a", membership=url, handler=never), quark.Client(membership=url)
    await silo.start()
    await client.start()
    calls = [asyncio.ensure_future(node.call("T", str(i), "")) for i in range(500) for node in (silo, client)]
    await soon(lambda: len(entered) == 1000)

asyncio.run(main())
sys.exit(7)
""",
        7,
    )


def test_row_26_a_loop_at_work_in_a_daemon_thread():
    ends(
        """
calls = []

async def handler(request):
    await asyncio.sleep(0)
    return request.payload

async def call(node, i):
    while True:
        await node.call("T", str(i), "", b"x")
        calls.append(i)

async def main():
    silo, client = quark.Silo("a", membership=url, handler=handler), quark.Client(membership=url)
    await silo.start()
    await client.start()
    await asyncio.gather(*(call((silo, client)[i % 2], i) for i in range(8)))

threading.Thread(target=asyncio.run, args=[main()], daemon=True).start()
until(lambda: len(calls) > 100)
sys.exit(7)
""",
        7,
    )


def test_row_26_sys_exit_in_a_coroutine_handler_ends_the_program():
    """As in any task: the loop stops, and `asyncio.run` raises it."""
    ends(
        """
async def leaving(request):
    sys.exit(7)

async def main():
    global silo
    silo = quark.Silo("a", membership=url, handler=leaving)
    await silo.start()
    await silo.call("T", "1", "")

asyncio.run(main())
""",
        7,
    )


def test_row_26_ctrl_c_in_asyncio_run():
    ends(
        """
entered = []

async def never(request):
    entered.append(request)
    await asyncio.get_running_loop().create_future()

async def main():
    global silo
    silo = quark.Silo("a", membership=url, handler=never)
    await silo.start()
    calls = [asyncio.ensure_future(silo.call("T", str(i), "")) for i in range(100)]
    await soon(lambda: len(entered) == 100)
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
    await asyncio.gather(*calls)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(7)
""",
        7,
    )
