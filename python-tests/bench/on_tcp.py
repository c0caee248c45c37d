"""asyncio TCP: length-prefixed frames, a future for each request; ``tasks`` answers each in a task of its own."""

import asyncio
import struct
from typing import Any, Callable, Dict

from meter import Load, measure, until_dismissed


class Frames(asyncio.Protocol):
    """Frames of `length, id, payload`; writes of one turn of the loop go out together."""

    def __init__(self, arrived: "Callable[[Frames, int, bytes], Any]") -> None:
        self.arrived, self.buffer, self.out = arrived, bytearray(), bytearray()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        at = 0
        while len(self.buffer) - at >= 8:
            length, number = struct.unpack_from("<II", self.buffer, at)
            if len(self.buffer) - at < 8 + length:
                break
            with memoryview(self.buffer) as view:
                payload = bytes(view[at + 8 : at + 8 + length])
            self.arrived(self, number, payload)
            at += 8 + length
        del self.buffer[:at]

    def send(self, number: int, payload: bytes) -> None:
        if not self.out:
            asyncio.get_running_loop().call_soon(self.flush)
        self.out += struct.pack("<II", len(payload), number)
        self.out += payload

    def flush(self) -> None:
        self.transport.write(bytes(self.out))
        self.out.clear()


async def answer(frames: Frames, number: int, payload: bytes) -> None:
    frames.send(number, payload)


async def serve(kind: str, _: str) -> None:
    loop = asyncio.get_running_loop()
    running = set()

    def in_a_task(frames: Frames, number: int, payload: bytes) -> None:
        task = loop.create_task(answer(frames, number, payload))
        running.add(task)
        task.add_done_callback(running.discard)

    arrived = in_a_task if kind == "tasks" else Frames.send
    server = await loop.create_server(lambda: Frames(arrived), "127.0.0.1", 0)
    print("ready", "127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await until_dismissed()


async def call(_: str, load: Load) -> None:
    loop = asyncio.get_running_loop()
    waiting: "Dict[int, asyncio.Future[bytes]]" = {}
    host, port = load.address.split(":")
    _, frames = await loop.create_connection(
        lambda: Frames(lambda _, number, payload: waiting.pop(number).set_result(payload)), host, int(port)
    )
    number, content = 0, load.content

    async def one() -> None:
        nonlocal number
        number = (number + 1) % 2**32
        future = waiting[number] = loop.create_future()
        frames.send(number, content)
        assert await future == content

    await measure(load, one, load.depth)
