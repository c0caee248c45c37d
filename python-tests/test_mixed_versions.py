"""A silo of the original Quark among silos of this one: a program that knows the two kinds of keys, the ten fields of the message
and the ring, and nothing else. What is here of it is made of redis, grpcio and hashlib alone."""

import asyncio
import bisect
import contextlib
import datetime
import hashlib
import json

import pytest
import quark
import redis
from stock_peer import StockClient, StockServer
from support import until

pytestmark = pytest.mark.one_python

VIRTUAL_NODES = 150
ACTORS = [str(number) for number in range(60)]


def position(text):
    return int.from_bytes(hashlib.md5(text.encode()).digest()[:4], "little")


class Original:
    """The original silo ``id``: rows and messages in Redis, a plain gRPC service, and a ring that it computes itself."""

    def __init__(self, silo_id, url, cluster):
        self.silo_id, self.cluster = silo_id, cluster
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.served = set()
        self.server = StockServer(self.serve)

    def serve(self, message):
        self.served.add(message.actor_id)
        return type(message)(
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            response_payload=self.silo_id.encode() + b" " + message.payload,
        )

    def start(self):
        self.server.__enter__()
        self.beat()
        self.redis.publish(f"{self.cluster}:membership", f"join:{self.silo_id}")

    def beat(self):
        address, port = self.server.address.rsplit(":", 1)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        row = {"SiloId": self.silo_id, "Address": address, "Port": int(port), "Status": 1, "LastHeartbeat": now}
        self.redis.set(f"{self.cluster}:silo:{self.silo_id}", json.dumps(row), ex=30)

    def leave(self):
        self.redis.delete(f"{self.cluster}:silo:{self.silo_id}")
        self.redis.publish(f"{self.cluster}:membership", f"leave:{self.silo_id}")
        self.server.__exit__(None, None, None)

    def silos(self):
        """Who is in, by its own reading of the rows: ids with addresses."""
        rows = [json.loads(self.redis.get(key)) for key in self.redis.scan_iter(f"{self.cluster}:silo:*")]
        rows = [{name.lower(): value for name, value in row.items()} for row in rows]
        return {row["siloid"]: f"{row['address']}:{row['port']}" for row in rows}

    def owner(self, actor_id):
        points = sorted((position(f"{silo}:{i}"), silo) for silo in self.silos() for i in range(VIRTUAL_NODES))
        place = bisect.bisect_left(points, (position(f"Counter:{actor_id}"), ""))
        return points[place % len(points)][1]

    def call(self, actor_id):
        """Calls the owner by its own ring."""
        fields = {"message_id": f"m-{actor_id}", "actor_type": "Counter", "actor_id": actor_id, "payload": b"from the original"}
        with StockClient(self.silos()[self.owner(actor_id)]) as client:
            reply = client.call(fields, timeout=20)
        assert not reply.is_error, reply.error_message
        return reply.response_payload


def silo_of(name, url, cluster):
    async def handler(request):
        return name.encode() + b" " + request.payload

    return quark.Silo(name, membership=url, cluster=cluster, handler=handler)


async def test_an_original_silo_and_new_ones_call_each_other_agree_on_owners_and_outlive_each_other(redis_url, cluster_name):
    original = Original("original", redis_url, cluster_name)
    async with contextlib.AsyncExitStack() as started:
        silos = [await started.enter_async_context(silo_of(name, redis_url, cluster_name)) for name in ("new-1", "new-2", "new-3")]
        client = await started.enter_async_context(quark.Client(membership=redis_url, cluster=cluster_name))
        in_thread = asyncio.get_running_loop().run_in_executor
        await in_thread(None, original.start)
        everybody = ["new-1", "new-2", "new-3", "original"]
        for node in (*silos, client):
            await until("all see the original silo", lambda node=node: [silo.silo_id for silo in node.silos()] == everybody)
        assert sorted(original.silos()) == everybody

        owners = {actor: client.owner("Counter", actor) for actor in ACTORS}
        assert set(owners.values()) == set(everybody)
        for actor, owner in owners.items():
            assert await in_thread(None, original.owner, actor) == owner
            assert await client.call("Counter", actor, "", b"x", timeout=20) == owner.encode() + b" x"
            assert await silos[0].call("Counter", actor, "", b"y", timeout=20) == owner.encode() + b" y"
            if owner != "original":
                assert await in_thread(None, original.call, actor) == owner.encode() + b" from the original"
        assert original.served == {actor for actor, owner in owners.items() if owner == "original"}

        # What the original does not know of: a silo that drains and gets nothing new when another one goes.
        await silos[0].drain()
        await silos[1].stop()
        await until("the others have heard", lambda: {silo.silo_id for silo in client.silos()} == {*everybody} - {"new-2"})
        await until("and that it drains", lambda: any(silo.draining for silo in client.silos()))
        misled = 0
        for actor in ACTORS:
            owner = client.owner("Counter", actor)
            misled += await in_thread(None, original.owner, actor) != owner
            assert owner != "new-1" or owners[actor] == "new-1"
            if owner == "new-3":
                # Sent to the one that drains, where the original takes it for the owner, and passed on.
                assert await in_thread(None, original.call, actor) == b"new-3 from the original"
        assert misled > 0

        await in_thread(None, original.leave)
        await until("it is gone", lambda: {silo.silo_id for silo in client.silos()} == {"new-1", "new-3"})
        for actor in ACTORS:
            assert (await client.call("Counter", actor, "", b"z", timeout=20)).endswith(b" z")
