"""Where calls go: by functions of the program's own, by zone, and while a silo drains."""

import asyncio
import gc
import logging
import pickle
import threading
import weakref

import pytest
import quark
from quark import blocking
from support import ends_well, until


def url(name: str) -> str:
    return f"memory://{name}"


def named(silo_id: str):
    def handler(_request: quark.Request) -> bytes:
        return silo_id.encode()

    return handler


def two(name: str, **options):
    a = quark.Silo("a", membership=url(name), handler=named("a"), **options)
    return a, quark.Silo("b", membership=url(name), handler=named("b"))


async def see_each_other(*silos) -> None:
    await until("all see all", lambda: all(len(silo.silos()) == len(silos) for silo in silos))


async def test_a_function_chooses_the_silo_of_each_call(cluster_name):
    seen = []

    def choose(actor_type, actor_id, silos, local):
        seen.append((actor_type, actor_id, local, threading.get_ident(), silos))
        return actor_id

    a, b = two(cluster_name, placement={"Session": choose, "Other": "random"})
    async with a, b:
        await see_each_other(a, b)
        for name in ["a", "b", "b"]:
            assert await a.call("Session", name, "") == name.encode()
        await a.notify("Session", "b", "")
        response = await a.send(quark.Envelope(actor_type="Session", actor_id="b"))
        assert response.result() == b"b"
        assert [reply for reply in await a.call_many([("Session", "a", ""), ("Session", "b", "")])] == [b"a", b"b"]
        assert len(seen) == 7
        assert {of[:1] + of[2:4] for of in seen} == {("Session", "a", threading.get_ident())}
        silos = seen[0][4]
        assert [info.silo_id for info in silos] == ["a", "b"] and isinstance(silos[0], quark.SiloInfo)
        assert all(of[4] is silos for of in seen), "it is made once for each view"


async def test_what_a_function_gives_is_checked(cluster_name, caplog):
    def choose(actor_type, actor_id, silos, local):
        if actor_id == "raises":
            raise LookupError("no such session")
        return {"none": None, "number": 7, "nowhere": "nowhere", "empty": ""}[actor_id]

    a, b = two(cluster_name, placement={"Session": choose})
    async with a, b:
        await see_each_other(a, b)

        async def error(actor_id):
            with pytest.raises(quark.QuarkError) as caught:
                await a.call("Session", actor_id, "")
            assert caught.value.delivered == "no"
            return caught.value

        for actor_id, kind, text in [
            ("none", quark.NoSiloError, 'the placement of "Session" chose no silo for "none"'),
            ("nowhere", quark.NoSiloError, '"Session" chose "nowhere", which is not in the view'),
            ("number", quark.InvalidArgumentError, "returned 7, which is neither a silo id nor None"),
            ("empty", quark.InvalidArgumentError, '"Session" chose silo_id="": must not be empty'),
        ]:
            caught = await error(actor_id)
            assert type(caught) is kind and text in caught.message, caught
        with caplog.at_level(logging.ERROR, "quark"):
            caught = await error("raises")
        assert type(caught) is quark.InvalidArgumentError
        assert 'the function of "Session" raised LookupError: no such session' in caught.message
        assert any(record.exc_info and record.exc_info[0] is LookupError for record in caplog.records)


async def test_a_function_may_look_but_not_call(cluster_name):
    def choose(actor_type, actor_id, silos, local):
        assert a.owner("Session", actor_id) in ("a", "b") and len(a.silos()) == 2
        for call in (silo.call, silo.notify):
            with pytest.raises(quark.ReentrantError, match="cannot make calls"):
                call("Other", "1", "")
        return "b"

    a, b = two(cluster_name, placement={"Session": choose})
    with blocking.Client(membership=url(cluster_name)) as silo:
        async with a, b:
            await see_each_other(a, b)
            assert await a.call("Session", "1", "") == b"b"


async def test_what_was_not_sent_when_its_silo_went_is_placed_again_on_another_thread(cluster_name):
    asked = []

    def choose(actor_type, actor_id, silos, local):
        asked.append(threading.current_thread())
        return next((info.silo_id for info in silos if info.silo_id == "ghost"), "b")

    a, b = two(cluster_name, placement={"Session": choose})
    ghost = quark.Membership(url(cluster_name))
    async with a, b:
        await see_each_other(a, b)
        await ghost.start("ghost", "127.0.0.1:9")
        await until("the ghost is seen", lambda: len(a.silos()) == 3)
        call = asyncio.ensure_future(a.call("Session", "1", ""))
        await until("it waits", lambda: len(asked) == 1)
        await ghost.stop()
        assert await call == b"b"
        assert len(asked) == 2 and asked[1] is not asked[0]


async def test_a_function_that_holds_its_silo_is_collected_with_it(cluster_name):
    class Chooser:
        def __call__(self, actor_type, actor_id, silos, local):
            return self.silo.silo_id

    chooser = Chooser()
    chooser.silo = quark.Silo("a", membership=url(cluster_name), handler=named("a"), placement={"T": chooser})
    async with chooser.silo as silo:
        assert await silo.call("T", "1", "") == b"a"
    gone = weakref.ref(chooser)
    del chooser, silo
    gc.collect()
    assert gone() is None


def test_ctrl_c_in_a_function_reaches_the_program():
    ends_well(
        """
        import os, signal
        from quark import blocking

        def choose(actor_type, actor_id, silos, local):
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000): pass
            return "a"

        with blocking.Silo("a", membership="memory://x", handler=lambda request: b"", placement={"T": choose}) as silo:
            try:
                silo.call("T", "1", "")
                for _ in range(1000000): pass
                raise SystemExit("not interrupted")
            except KeyboardInterrupt:
                print("interrupted")
        """
    )


def test_what_cannot_place_is_refused():
    async def choose(actor_type, actor_id, silos, local):
        return None

    for placement in [choose, 7, None]:
        for kind in (quark.Silo, blocking.Silo):
            with pytest.raises(TypeError, match=r'placement\["T"\]=.*: must be str or a plain function'):
                kind("a", membership="memory://x", placement={"T": placement})
    with pytest.raises(quark.InvalidArgumentError, match='placement: actor_type="": must not be empty'):
        blocking.Silo("a", membership="memory://x", handler=named("a"), placement={"": "random"}).start()
    with pytest.raises(TypeError, match="placement=7: must be a dict of str to str or a function"):
        quark.Silo("a", membership="memory://x", placement=7)


async def test_stateless_workers_of_the_callers_zone_come_first(cluster_name):
    silos = [
        quark.Silo(silo_id, membership=url(cluster_name), handler=named(silo_id), zone=zone)
        for silo_id, zone in [("near", "x"), ("far", "y"), ("next", "x")]
    ]
    for silo in silos:
        await silo.start()
    placement = {"Worker": "stateless-worker"}
    async with quark.Client(membership=url(cluster_name), placement=placement, zone="x") as client:
        assert [await client.call("Worker", "1", "") for _ in range(4)] == [b"near", b"next"] * 2
    with pytest.raises(TypeError, match="zone=7: must be str, not int"):
        quark.Client(membership=url(cluster_name), zone=7)
    for silo in silos:
        await silo.stop()


def three(name: str):
    return [
        quark.Silo(silo_id, membership=url(name), handler=named(silo_id), zone=zone)
        for silo_id, zone in [("a", "x"), ("b", "x"), ("c", "y")]
    ]


def owned(silo, by: str):
    return {str(i) for i in range(300) if silo.owner("T", str(i)) == by}


def draining(silo):
    return {info.silo_id for info in silo.silos() if info.draining}


async def test_a_drained_silo_keeps_what_it_has_and_gets_nothing_new(cluster_name):
    a, b, c = three(cluster_name)
    async with a, b, c:
        await see_each_other(a, b, c)
        events = b.events()
        heard = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0)
        kept = owned(a, "a")
        await a.drain()
        await a.drain()
        assert draining(a) == {"a"} and owned(a, "a") == kept
        event = await heard
        assert (event.kind, event.silo.silo_id, event.silo.draining) == ("updated", "a", True)
        await events.aclose()
        await c.stop()
        await until("c is gone", lambda: len(a.silos()) == len(b.silos()) == 2)
        assert owned(a, "a") == owned(b, "a") == kept
        ring = a.ring("T")
        assert pickle.loads(pickle.dumps(ring)) == ring == b.ring("T"), "it takes with it who drains"
        plain = quark.HashRing()
        plain.add("a"), plain.add("b")
        assert ring != plain and ring.ranges("a") != plain.ranges("a")
        for actor_id in [*sorted(kept)[:5], *sorted(owned(b, "b"))[:5]]:
            assert await b.call("T", actor_id, "") == b.owner("T", actor_id).encode()
        await a.resume()
        await a.resume()
        await until("b sees the end of it", lambda: not draining(b))
        assert draining(a) == set() and owned(a, "a") == owned(b, "a") > kept
    with pytest.raises(quark.NotRunningError):
        await a.drain()


async def test_a_weight_changes_while_the_silo_runs(cluster_name):
    a, b, c = three(cluster_name)
    async with a, b, c:
        await see_each_other(a, b, c)
        before = owned(a, "a")
        await a.set_virtual_nodes(600)
        assert {info.silo_id: info.virtual_nodes for info in a.silos()} == {"a": 600, "b": 150, "c": 150}
        await until("b follows", lambda: owned(b, "a") == owned(a, "a"))
        assert owned(a, "a") > before
        for bad, kind, text in [
            (0, quark.InvalidArgumentError, "virtual_nodes=0: must be 1 to 100000"),
            (-1, quark.InvalidArgumentError, "virtual_nodes=-1: is negative or too large"),
            ("9", TypeError, "virtual_nodes='9': must be int, not str"),
        ]:
            with pytest.raises(kind, match=text):
                await a.set_virtual_nodes(bad)


async def test_who_owns_an_actor_next_and_where_its_copies_belong(cluster_name):
    a, b, c = three(cluster_name)
    async with a, b, c, quark.Client(membership=url(cluster_name)) as client:
        await see_each_other(a, b, c)
        for actor_id in map(str, range(50)):
            owner = a.owner("T", actor_id)
            for asked in (a, client):
                copies = asked.successors("T", actor_id, 2)
                assert copies[0] == owner and ("c" in copies), "two zones"
                assert set(asked.successors("T", actor_id)) == {"a", "b", "c"}
                next_owners = asked.next_owners("T", actor_id, 9)
                assert {owner, *next_owners} == {"a", "b", "c"} and len(next_owners) == 2
                assert asked.next_owners("T", actor_id, 1) == next_owners[:1]
        of_a = [actor_id for actor_id in map(str, range(50)) if a.owner("T", actor_id) == "a"]
        expected = [b.next_owners("T", actor_id)[0] for actor_id in of_a]
        for actor_type, actor_id, most, kind, text in [
            ("", "1", 1, quark.InvalidArgumentError, 'actor_type="": must not be empty'),
            ("T", 7, 1, TypeError, "actor_id=7: must be str, not int"),
            ("T", "1", -1, quark.InvalidArgumentError, "most=-1: is negative"),
        ]:
            for ask in (a.successors, a.next_owners):
                with pytest.raises(kind, match=text):
                    ask(actor_type, actor_id, most)
        await a.stop()
        await until("a is gone", lambda: len(b.silos()) == 2)
        assert [b.owner("T", actor_id) for actor_id in of_a] == expected


def test_the_blocking_face_drains_and_weighs_too(cluster_name):
    with blocking.Silo("a", membership=url(cluster_name), handler=named("a")) as silo:
        silo.drain()
        assert draining(silo) == {"a"}
        silo.resume()
        assert draining(silo) == set()
        silo.set_virtual_nodes(10)
        assert silo.silos()[0].virtual_nodes == 10
        assert silo.successors("T", "1") == ["a"] and silo.next_owners("T", "1") == []
