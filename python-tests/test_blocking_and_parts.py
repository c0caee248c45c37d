"""The blocking API, and transport and membership alone."""

import asyncio
import threading

import pytest
import quark
from quark import blocking
from support import LIMIT, until


def test_blocking_silos_and_clients_call(cluster_name):
    url = f"memory://{cluster_name}"
    with blocking.Silo("a", membership=url, handler=lambda request: request.payload) as silo:
        with blocking.Client(membership=url) as client:
            assert client.call("T", "1", "", b"x", timeout=LIMIT) == b"x"
            results = []
            threads = [
                threading.Thread(target=lambda i=i: results.append(client.call("T", str(i), "", b"%d" % i)))
                for i in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(map(int, results)) == list(range(20))
            client.notify("T", "1", "")
        assert silo.owner("T", "1") == "a" and len(silo.silos()) == 1
    with pytest.raises(quark.NotRunningError):
        silo.call("T", "1", "")


def test_a_blocking_handler_may_call_its_own_actor_and_stop_its_silo(cluster_name):
    def handler(request):
        if request.method_name == "outer":
            return silo.call("T", request.actor_id, "inner", b"x", timeout=LIMIT)
        if request.method_name == "stop":
            silo.stop()
        return request.payload

    silo = blocking.Silo("a", membership=f"memory://{cluster_name}", handler=handler, handler_threads=1)
    silo.start()
    assert silo.call("T", "1", "outer", timeout=LIMIT) == b"x"
    assert silo.call("T", "1", "stop", b"y", timeout=LIMIT) == b"y"
    asyncio.run(until("it has stopped", lambda: not silo.is_running))


def test_a_coroutine_handler_needs_a_loop(cluster_name):
    async def handler(request):
        return b""

    silo = blocking.Silo("a", membership=f"memory://{cluster_name}", handler=handler)
    with pytest.raises(TypeError, match="coroutine function needs an event loop"):
        silo.start()


async def test_transports_send_to_each_other():
    b = quark.Transport("b", listen="127.0.0.1:0", handler=lambda request: b"b:" + request.payload)
    a = quark.Transport("a", handler=lambda request: b"a:" + request.payload)
    await a.start()
    await b.start()
    assert a.local_endpoint is None and b.local_silo_id == "b"
    await a.connect(quark.SiloInfo("b", b.local_endpoint))
    request = quark.Envelope(actor_type="T", actor_id="1", payload=b"x", message_id="mine", correlation_id="c")
    response = await a.send("b", request, timeout=LIMIT)
    assert (response.message_id, response.correlation_id, response.result()) == ("mine", "c", b"b:x")
    assert (await b.send("a", request, timeout=LIMIT)).result() == b"a:x"
    assert (await a.send("a", request, timeout=LIMIT)).result() == b"a:x"
    with pytest.raises(quark.UnreachableError, match="nobody"):
        await a.send("nobody", request)
    await a.stop()
    await b.stop()
    with pytest.raises(quark.NotRunningError):
        await a.send("b", request)


async def test_membership_alone_sees_who_comes_and_goes(cluster_name):
    url = f"memory://{cluster_name}"
    one, two = quark.Membership(url), quark.Membership(url)
    assert await one.start("one", "127.0.0.1:1") == 1
    assert await two.start("two", "127.0.0.1:2") == 1
    await until("both see both", lambda: len(one.silos()) == len(two.silos()) == 2)
    assert one.silo("two").endpoint == "127.0.0.1:2" and one.owner("T", "1") == two.owner("T", "1")
    before = one.view_version
    await two.stop()
    await until("it left", lambda: one.silo("two") is None)
    assert one.view_version > before
    await one.stop()
    await one.stop()
