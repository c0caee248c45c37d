"""pyzmq's asyncio sockets, DEALER to ROUTER, a future for each request."""

import asyncio
from typing import Dict

import zmq
import zmq.asyncio
from meter import Load, measure, until_dismissed


def open_socket(kind: int) -> zmq.asyncio.Socket:
    opened = zmq.asyncio.Context.instance().socket(kind)
    opened.set_hwm(0)
    opened.linger = 0
    return opened


async def serve(_: str, __: str) -> None:
    router = open_socket(zmq.ROUTER)
    print("ready", f"127.0.0.1:{router.bind_to_random_port('tcp://127.0.0.1')}", flush=True)

    async def echo() -> None:
        while True:
            await router.send_multipart(await router.recv_multipart())

    echoing = asyncio.get_running_loop().create_task(echo())
    await until_dismissed()
    echoing.cancel()


async def call(_: str, load: Load) -> None:
    dealer = open_socket(zmq.DEALER)
    dealer.connect(f"tcp://{load.address}")
    waiting: "Dict[bytes, asyncio.Future[bytes]]" = {}
    loop = asyncio.get_running_loop()
    number, content = 0, load.content

    async def read() -> None:
        while True:
            key, payload = await dealer.recv_multipart()
            waiting.pop(key).set_result(payload)

    reader = loop.create_task(read())

    async def one() -> None:
        nonlocal number
        number += 1
        key = number.to_bytes(8, "little")
        future = waiting[key] = loop.create_future()
        await dealer.send_multipart([key, content])
        assert await future == content

    await measure(load, one, load.depth)
    reader.cancel()
