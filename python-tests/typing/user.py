"""A user's program, checked by `mypy --strict`."""

from typing import List, Optional

import quark
from quark import blocking


async def handler(request: quark.Request) -> bytes:
    return request.payload


def plain(request: quark.Request) -> bytes:
    return request.actor_id.encode()


async def main() -> None:
    async with quark.Silo("a", membership="memory://typing", handler=handler, handlers={"T": plain}) as silo:
        reply: bytes = await silo.call("T", "1", "get", b"x", timeout=5.0)
        owner: Optional[str] = silo.owner("T", reply.decode())
        infos: List[quark.SiloInfo] = silo.silos()
        print(owner, [info.endpoint for info in infos], silo.view_version)
        async for event in silo.events():
            print(event.kind, event.silo.silo_id)
        async for change in silo.ownership():
            gone: List[str] = [id for id in ("1", "2") if change.lost.contains("T", id)]
            print(gone, [first for first, _ in change.gained], change.owned.share, silo.owns("T", "1"))
        why: quark.Explanation = silo.explain("T", "1")
        print(why.owner and why.owner.zone, [info.silo_id for info in why.next_owners])
        try:
            await silo.notify("T", "1", "log", memoryview(b"y"))
        except quark.QuarkTimeoutError as error:
            print(error.code, error.delivered, error.retryable)
    response: quark.Envelope = await silo.send(quark.Envelope(actor_type="T", actor_id="1"))
    print(response.result())


def without_a_loop() -> bytes:
    with blocking.Client(membership="memory://typing") as client:
        return client.call("T", "1", "get")


ring = quark.HashRing()
ring.add("silo-1", 150)
owners: List[Optional[str]] = ring.owners(["T:1", "T:2"])
ranges: quark.HashRanges = ring.ranges("silo-1") | quark.HashRanges([(0, 7)])
next_owners: List[str] = ring.next_owners("T:1")
