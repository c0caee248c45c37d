"""A silo in Python with counters that live through joins, leaves and kills.

Started as ``counters.py ID REDIS_URL CLUSTER``; says when it is ready and what it handed over and took over, a line of JSON
each, and leaves when its standard input is closed.

A counter is kept by the silo that owns it and is written to Redis before anybody hears of an increment. When ownership
moves, the old owner forgets the counter and the new one fetches it. For a moment two silos may take themselves for the
owner: each writes only over the value that it knows, so that the one who is late reads again instead of undoing what the
other has done. (A mere number could be left to HINCRBY; this is how it goes for state of any kind.)
"""

import asyncio
import collections
import json
import sys
from typing import DefaultDict, Dict

import quark
import redis.asyncio

#: Writes a value over the one that is expected; says whether it did, and which is there now.
REPLACE = """
local now = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
if now ~= ARGV[2] then return {0, now} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {1, ARGV[3]}
"""


class Counters:
    """The counters of one silo."""

    def __init__(self, store: "redis.asyncio.Redis", key: str) -> None:
        self.store, self.key = store, key
        self.values: Dict[str, int] = {}
        # Requests of one actor start in order and may overlap where they wait.
        self.turns: DefaultDict[str, asyncio.Lock] = collections.defaultdict(asyncio.Lock)

    async def on_request(self, request: quark.Request) -> bytes:
        counter, by = request.actor_id, int(request.payload or b"1")
        async with self.turns[counter]:
            if request.method_name == "read":
                value = int(await self.store.hget(self.key, counter) or 0)
            else:
                value = await self.add(counter, by)
        return b"%d" % value

    async def add(self, counter: str, by: int) -> int:
        known = self.values.pop(counter, None)  # Whatever goes wrong, it is read anew.
        if known is None:
            known = int(await self.store.hget(self.key, counter) or 0)
        while True:
            written, now = await self.store.eval(REPLACE, 1, self.key, counter, known, known + by)
            if written:
                self.values[counter] = known + by
                return known + by
            known = int(now)

    async def follow(self, silo: quark.Silo) -> None:
        """Hands over and takes over, until the silo ends."""
        async for change in silo.ownership("Counter"):
            given = [counter for counter in self.values if change.lost.contains("Counter", counter)]
            for counter in given:
                self.values.pop(counter, None)
            stored = [key.decode() for key in await self.store.hkeys(self.key)]
            taken = [counter for counter in stored if change.gained.contains("Counter", counter)]
            if taken:
                for counter, value in zip(taken, await self.store.hmget(self.key, taken)):
                    self.values.setdefault(counter, int(value))
            report = {"view": change.view_version, "share": change.owned.share, "gave": len(given), "took": len(taken)}
            print(json.dumps(report), flush=True)


async def main(silo_id: str, url: str, cluster: str) -> None:
    async with redis.asyncio.Redis.from_url(url) as store:
        counters = Counters(store, f"counters:{cluster}")
        silo = quark.Silo(silo_id, membership=url, cluster=cluster, handlers={"Counter": counters.on_request})
        await silo.start()
        print(json.dumps({"ready": silo.endpoint}), flush=True)
        following = asyncio.create_task(counters.follow(silo))
        await asyncio.to_thread(sys.stdin.read)
        await silo.stop()
        await following


asyncio.run(main(*sys.argv[1:]))
