"""grpc.aio: one bidirectional stream of bytes, a future for each request."""

import asyncio
from typing import Any, Dict

import grpc
from meter import Load, measure, until_dismissed

METHOD = "/quark.QuarkTransport/ActorStream"


async def serve(_: str, __: str) -> None:
    async def stream(requests: Any, _: Any) -> Any:
        async for message in requests:
            yield message

    class Service(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            return grpc.stream_stream_rpc_method_handler(stream)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print("ready", f"127.0.0.1:{port}", flush=True)
    await until_dismissed()
    await server.stop(0)


async def call(_: str, load: Load) -> None:
    outgoing: "asyncio.Queue[bytes]" = asyncio.Queue()

    async def requests() -> Any:
        while True:
            yield await outgoing.get()

    channel = grpc.aio.insecure_channel(load.address)
    stream = channel.stream_stream(METHOD)(requests())
    waiting: "Dict[int, asyncio.Future[bytes]]" = {}
    loop = asyncio.get_running_loop()
    number, content = 0, load.content

    async def read() -> None:
        async for message in stream:
            waiting.pop(int.from_bytes(message[:8], "little")).set_result(message[8:])

    reader = loop.create_task(read())

    async def one() -> None:
        nonlocal number
        number += 1
        future = waiting[number] = loop.create_future()
        outgoing.put_nowait(number.to_bytes(8, "little") + content)
        assert await future == content and not reader.done()

    await measure(load, one, load.depth)
    stream.cancel()
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    await channel.close()
