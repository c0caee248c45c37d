"""The silo of README.md in Python."""

import asyncio
import collections
import sys
from typing import Any, Awaitable, Dict

import quark


async def outcome(call: "Awaitable[bytes]") -> bytes:
    try:
        return b"OK " + await call
    except quark.QuarkError as error:
        return f"{error.name} {error.delivered} {error.message}".encode()


class Program:
    def __init__(self, own_type: str, silo_id: str, url: str, cluster: str, security: Dict[str, Any]) -> None:
        self.type = own_type
        self.counts: "collections.Counter[str]" = collections.Counter()
        handlers = {own_type: self.on_request}
        self.silo = quark.Silo(silo_id, membership=url, cluster=cluster, handlers=handlers, **security)

    async def on_request(self, request: quark.Request) -> bytes:
        method, text = request.method_name, request.payload.decode()
        if method == "echo":
            return request.payload
        if method == "fail":
            raise ValueError(text)
        if method == "left":
            return b"%d" % (request.time_left * 1000)
        if method == "counts":
            return b"%d %d" % (self.counts["waiting"], self.counts["given up"])
        if method == "relay":
            return await self.relay(text)
        if method == "call":
            return await self.call(text)
        if method == "cancel":
            return await self.cancel(text)
        assert method == "wait", "no such method"
        self.counts["waiting"] += 1
        while not request.is_abandoned:
            await asyncio.sleep(0.001)
        self.counts["given up"] += 1
        await asyncio.sleep(0.1)
        return b"nobody hears this"

    async def call(self, order: str) -> bytes:
        target, method, timeout_ms, payload = order.split(" ", 3)
        data = bytes(int(payload[1:])) if payload.startswith("#") else payload.encode()
        return await outcome(self.silo.call(target, "1", method, data, timeout=int(timeout_ms) / 1000))

    async def cancel(self, target: str) -> bytes:
        async def begun() -> int:
            return int((await self.silo.call(target, "1", "counts")).split()[0])

        before = await begun()
        call = asyncio.ensure_future(self.silo.call(target, "1", "wait", timeout=60))
        while await begun() == before:
            await asyncio.sleep(0.001)
        call.cancel()
        try:
            return await outcome(call)
        except asyncio.CancelledError:
            return b"CANCELLED unknown as asyncio says it"

    async def relay(self, route: str) -> bytes:
        following, _, rest = route.partition(" ")
        if not following:
            return self.type.encode()
        return self.type.encode() + b">" + await self.silo.call(following, "1", "relay", rest.encode())


async def main(silo_id: str, url: str, cluster: str, own_type: str, *files: str) -> None:
    security: Dict[str, Any] = {}
    if files:
        security = {"tls": quark.Tls(*files[:3]), "transport": files[3]}
    async with Program(own_type, silo_id, url, cluster, security).silo:
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
