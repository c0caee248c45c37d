"""Echo between two Python processes: Quark, asyncio TCP and grpc.aio. Driven by `cargo xtask bench`.

`echo.py serve SUBJECT` prints `ready ADDRESS` and ends when its standard input does; `echo.py call SUBJECT ADDRESS DEPTH
SECONDS SERVER-PID` prints one line of JSON. Subjects: quark-async, quark-def (handlers `async def` and `def`), quark-many
(`def`, and the caller makes DEPTH calls by one `call_many`), tcp (length-prefixed, a future for each request), grpc (a
bidirectional stream on grpc.aio).
"""

import asyncio
import json
import struct
import sys
import time
from typing import Any, Awaitable, Callable, Dict

PAYLOAD = b"7" * 64
WARM_UP = 0.5


async def until_dismissed() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


# ---- Quark ------------------------------------------------------------------------------------------------------


async def serve_quark(kind: str) -> None:
    import quark

    async def coroutine(request: quark.Request) -> bytes:
        return request.payload

    def plain(request: quark.Request) -> bytes:
        return request.payload

    async with quark.Silo("server", membership="static://", handler=coroutine if kind == "async" else plain) as silo:
        print("ready", silo.endpoint, flush=True)
        await until_dismissed()


async def call_quark(address: str, many: int = 0) -> Any:
    import quark

    client = quark.Client(membership=f"static://server@{address}")
    await client.start()
    calls = [("Device", "device-0001234", "Echo", PAYLOAD)] * many
    echoed = [PAYLOAD] * many

    async def call_many() -> None:
        assert await client.call_many(calls) == echoed

    if many:
        return call_many

    async def call() -> None:
        assert await client.call("Device", "device-0001234", "Echo", PAYLOAD) == PAYLOAD

    return call


# ---- asyncio TCP ------------------------------------------------------------------------------------------------


class Frames(asyncio.Protocol):
    """Frames of `length, id, payload`; writes of one turn of the loop go out together."""

    def __init__(self, arrived: "Callable[[Frames, int, bytes], None]") -> None:
        self.arrived, self.buffer, self.out = arrived, b"", bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        at = 0
        while len(self.buffer) - at >= 8:
            length, number = struct.unpack_from("<II", self.buffer, at)
            if len(self.buffer) - at < 8 + length:
                break
            self.arrived(self, number, self.buffer[at + 8 : at + 8 + length])
            at += 8 + length
        self.buffer = self.buffer[at:]

    def send(self, number: int, payload: bytes) -> None:
        if not self.out:
            asyncio.get_running_loop().call_soon(self.flush)
        self.out += struct.pack("<II", len(payload), number) + payload

    def flush(self) -> None:
        self.transport.write(bytes(self.out))
        self.out.clear()


async def serve_tcp() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Frames(Frames.send), "127.0.0.1", 0)
    print("ready", "127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await until_dismissed()


async def call_tcp(address: str) -> Any:
    loop = asyncio.get_running_loop()
    waiting: "Dict[int, asyncio.Future[bytes]]" = {}
    host, port = address.split(":")
    _, frames = await loop.create_connection(
        lambda: Frames(lambda _, number, payload: waiting.pop(number).set_result(payload)), host, int(port)
    )
    number = 0

    async def call() -> None:
        nonlocal number
        number += 1
        future = waiting[number] = loop.create_future()
        frames.send(number, PAYLOAD)
        assert await future == PAYLOAD

    return call


# ---- grpc.aio ---------------------------------------------------------------------------------------------------

METHOD = "/quark.QuarkTransport/ActorStream"


async def serve_grpc() -> None:
    import grpc

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


async def call_grpc(address: str) -> Any:
    import grpc

    outgoing: "asyncio.Queue[bytes]" = asyncio.Queue()

    async def requests() -> Any:
        while True:
            yield await outgoing.get()

    stream = grpc.aio.insecure_channel(address).stream_stream(METHOD)(requests())
    waiting: "Dict[int, asyncio.Future[bytes]]" = {}
    loop = asyncio.get_running_loop()
    number = 0

    async def read() -> None:
        async for message in stream:
            waiting.pop(int.from_bytes(message[:8], "little")).set_result(message[8:])

    reader = loop.create_task(read())

    async def call() -> None:
        nonlocal number
        number += 1
        future = waiting[number] = loop.create_future()
        outgoing.put_nowait(number.to_bytes(8, "little") + PAYLOAD)
        assert await future == PAYLOAD and not reader.done()

    return call


# ---- Measuring --------------------------------------------------------------------------------------------------


def cpu_seconds(pid: Any) -> float:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def measure(
    make: "Callable[[], Awaitable[None]]", depth: int, seconds: float, pid: int, at_once: int = 1
) -> None:
    """``depth`` lanes, each of which makes ``at_once`` calls one after the other."""
    latencies: "list[float]" = []

    async def lane(end: float) -> None:
        began = time.perf_counter()
        while began < end:
            await make()
            now = time.perf_counter()
            latencies.append(now - began)
            began = now

    async def lanes(time_span: float) -> None:
        end = time.perf_counter() + time_span
        await asyncio.gather(*(lane(end) for _ in range(depth)))

    await lanes(WARM_UP)
    latencies.clear()
    cpu, began = cpu_seconds("self") + cpu_seconds(pid), time.perf_counter()
    await lanes(seconds)
    took, cpu = time.perf_counter() - began, cpu_seconds("self") + cpu_seconds(pid) - cpu
    latencies.sort()
    count = len(latencies) * at_once
    figures = {
        "msgs_per_s": round(count / took),
        "p50_us": round(latencies[len(latencies) // 2] * 1e6, 1),
        "p99_us": round(latencies[len(latencies) * 99 // 100] * 1e6, 1),
        "cpu_s_per_100k": round(cpu / count * 100_000, 3),
    }
    print(json.dumps(figures), flush=True)


async def main(verb: str, subject: str, *more: str) -> None:
    if verb == "serve":
        servers = {"tcp": serve_tcp, "grpc": serve_grpc}
        await (servers[subject]() if subject in servers else serve_quark(subject.split("-")[1]))
        return
    address, depth, seconds, pid = more
    if subject == "quark-many":
        await measure(await call_quark(address, int(depth)), 1, float(seconds), int(pid), at_once=int(depth))
        return
    callers = {"tcp": call_tcp, "grpc": call_grpc}
    make = await callers.get(subject, call_quark)(address)
    await measure(make, int(depth), float(seconds), int(pid))


asyncio.run(main(*sys.argv[1:]))
