"""The Python silo of the demo: counters, each answering with the silo's id and how often it was called here.

Started as `silo.py ID URL CLUSTER`; says that it is ready, and goes when its standard input is closed.
"""

import asyncio
import collections
import sys

import quark


async def main(silo_id: str, url: str, cluster: str) -> None:
    counters: "collections.Counter[str]" = collections.Counter()

    def increment(request: quark.Request) -> bytes:
        counters[request.actor_id] += 1
        return f"{silo_id} {counters[request.actor_id]}".encode()

    async with quark.Silo(silo_id, membership=url, cluster=cluster, handlers={"Counter": increment}) as silo:
        print("ready", silo.endpoint, "-", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main(*sys.argv[1:]))
