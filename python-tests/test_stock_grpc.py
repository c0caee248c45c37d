"""A stock gRPC program, made from the ten original fields alone, calls a silo and serves calls from one."""

import asyncio

import pytest
import quark
from stock_peer import StockClient, StockServer

pytestmark = pytest.mark.one_python


@pytest.fixture
async def silo(cluster_name):
    async def handler(request):
        if request.method_name == "fail":
            raise ValueError("as asked")
        return b"" if request.method_name == "empty" else b"<" + request.payload + b">"

    async with quark.Silo("a", membership="static://", cluster=cluster_name, handler=handler) as silo:
        yield silo


def fields(**more):
    return {"message_id": "m-1", "actor_type": "Counter", "actor_id": "42", "correlation_id": "c-1", **more}


async def test_it_calls_a_silo(silo):
    def calls():
        with StockClient(silo.endpoint) as client:
            return (
                client.call(fields(method_name="Increment", payload=b"x"), timeout=20),
                client.call(fields(message_id="m-2", method_name="empty"), timeout=20),
                client.call(fields(message_id="m-3", method_name="fail"), timeout=20),
            )

    reply, empty, error = await asyncio.get_running_loop().run_in_executor(None, calls)
    assert (reply.message_id, reply.correlation_id, reply.response_payload) == ("m-1", "c-1", b"<x>")
    assert (reply.actor_type, reply.actor_id, reply.method_name) == ("Counter", "42", "Increment")
    assert not reply.is_error and reply.timestamp > 0
    assert not empty.is_error and empty.response_payload == b"" and empty.message_id == "m-2"
    assert error.is_error and error.error_message == "ValueError: as asked"


async def test_it_serves_calls_of_a_silo(cluster_name):
    def handler(message):
        answer = type(message)(message_id=message.message_id, correlation_id=message.correlation_id)
        if message.method_name == "fail":
            answer.is_error, answer.error_message = True, "no such thing"
        else:
            answer.response_payload = message.payload.upper()
        return answer

    with StockServer(handler) as server:
        async with quark.Client(membership=f"static://stock@{server.address}", cluster=cluster_name) as client:
            assert await client.call("T", "1", "", b"x", timeout=20) == b"X"
            assert await client.call("T", "1", "", b"", timeout=20) == b""
            with pytest.raises(quark.HandlerFailedError, match="no such thing"):
                await client.call("T", "1", "fail", timeout=20)
            replies = await asyncio.gather(*(client.call("T", str(i), "", b"%d" % i, timeout=20) for i in range(200)))
            assert replies == [b"%d" % i for i in range(200)]


async def test_the_standard_health_service_answers(silo):
    """SERVING is 1, NOT_SERVING 2; field 1 of the request names the service."""
    import grpc

    def raw(data: bytes) -> bytes:
        return data

    async with grpc.aio.insecure_channel(silo.endpoint) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", raw, raw)
        assert await check(b"", timeout=20) == b"\x08\x01"
        assert await check(b"\x0a\x14quark.QuarkTransport", timeout=20) == b"\x08\x01"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(b"\x0a\x05other", timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch", raw, raw)(b"")
        assert await watch.read() == b"\x08\x01"
        leaving = asyncio.ensure_future(silo.stop())
        assert await asyncio.wait_for(watch.read(), 20) == b"\x08\x02"
        await leaving
