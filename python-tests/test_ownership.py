"""What a silo owns, gains and loses, and what rings and explanations say."""

import asyncio
import copy
import pickle
import threading

import pytest
import quark
from quark import blocking
from support import LIMIT, until


def url(name: str) -> str:
    return f"memory://{name}"


def nothing(request: quark.Request) -> None:
    return None


def silo(silo_id: str, name: str, **options) -> quark.Silo:
    return quark.Silo(silo_id, membership=url(name), handler=nothing, **options)


async def test_a_host_hears_what_its_silo_owns_then_what_others_take_and_give_back(cluster_name):
    async with silo("a", cluster_name) as a:
        changes = a.ownership()
        first = await asyncio.wait_for(changes.__anext__(), LIMIT)
        assert list(first.gained) == [(0, 2**32 - 1)] and first.owned == first.gained and not first.lost
        async with silo("b", cluster_name) as b:
            second = await asyncio.wait_for(changes.__anext__(), LIMIT)
            assert second.lost == a.ring("T").ranges("b") and second.view_version == a.view_version
            assert second.lost | second.owned == first.owned and not second.gained
            for actor_id in map(str, range(100)):
                assert a.owns("T", actor_id) == second.owned.contains("T", actor_id) == (f"T:{actor_id}" in second.owned)
                assert b.owns("T", actor_id) == second.lost.contains("T", actor_id)
        third = await asyncio.wait_for(changes.__anext__(), LIMIT)
        assert third.gained == second.lost and third.owned == first.owned
        await changes.aclose()
    assert not a.owns("T", "1")


async def test_a_stop_waits_for_the_host_that_gives_up_what_is_lost(cluster_name):
    gives_up, gave_up, owned = asyncio.Event(), asyncio.Event(), []

    async def follow(a: quark.Silo) -> None:
        async for change in a.ownership():
            owned.append(change.owned.share)
            if not change.owned:
                gives_up.set()
                await asyncio.sleep(0.05)
                gave_up.set()

    a = silo("a", cluster_name)
    await a.start()
    following = asyncio.ensure_future(follow(a))
    await until("the first change is there", lambda: owned == [1.0])
    stopping = asyncio.ensure_future(a.stop(LIMIT))
    await asyncio.wait_for(gives_up.wait(), LIMIT)
    assert not a.owns("T", "1") and not stopping.done()
    await asyncio.wait_for(stopping, LIMIT)
    assert gave_up.is_set()
    await asyncio.wait_for(following, LIMIT)
    assert owned == [1.0, 0.0]


def test_the_same_without_a_loop(cluster_name):
    owned, has_first = [], threading.Event()
    with blocking.Silo("a", membership=url(cluster_name), handlers={"Counter": nothing}) as a:

        def follow() -> None:
            for change in a.ownership():
                owned.append(change.owned.share)
                has_first.set()

        following = threading.Thread(target=follow)
        following.start()
        assert has_first.wait(LIMIT) and a.owns("Counter", "1") and not a.owns("Other", "1")
        why = a.explain("Counter", "1")
        assert why.is_owned_here and why.owner is not None and why.owner.silo_id == "a" and why.next_owners == ()
        with blocking.Client(membership=url(cluster_name)) as client:
            assert not client.explain("Counter", "1").is_owned_here and client.ring("Counter").silos == ["a"]
    following.join(LIMIT)
    assert not following.is_alive() and owned == [1.0, 0.0]


async def test_what_cannot_be_asked_is_refused(cluster_name):
    several = {"Counter": nothing, "Greeter": nothing}
    async with quark.Silo("a", membership=url(cluster_name), handlers=several) as a:
        for ask, told in (
            (lambda: a.ownership(), "actor_type.*Counter, Greeter"),
            (lambda: a.ownership("Other"), 'actor_type="Other"'),
            (lambda: a.owns("", "1"), "actor_type"),
            (lambda: a.owns("T", "a\0b"), "actor_id"),
            (lambda: a.explain("T", ""), "actor_id"),
        ):
            with pytest.raises(quark.InvalidArgumentError, match=told):
                ask()
        with pytest.raises(TypeError, match="actor_type=7: must be str, not int"):
            a.owns(7, "1")
        with pytest.raises(TypeError, match="actor_type=7: must be str, not int"):
            a.ownership(7)
    with pytest.raises(quark.NotRunningError):
        quark.Silo("b", membership=url(cluster_name), handler=nothing).owns("T", "1")


async def test_an_explanation_says_who_owns_an_actor_and_who_would(cluster_name):
    async with silo("a", cluster_name, zone="north") as a, silo("b", cluster_name) as b, silo("c", cluster_name):
        await until("a sees all", lambda: len(a.silos()) == 3 == len(b.silos()))
        for actor_id in map(str, range(50)):
            why = a.explain("T", actor_id)
            assert (why.actor_type, why.actor_id, why.position) == ("T", actor_id, quark.hash(f"T:{actor_id}"))
            assert why.owner.silo_id == a.owner("T", actor_id) and why.serving == 3 and why.is_placed_by_ring
            assert why.owner.zone == ("north" if why.owner.silo_id == "a" else None)
            assert why.is_owned_here == a.owns("T", actor_id) and why.view_version == a.view_version
            ring = a.ring("T")
            assert [info.silo_id for info in why.next_owners] == ring.next_owners(f"T:{actor_id}")
            ring.remove(why.owner.silo_id)
            assert ring.owner(f"T:{actor_id}") == why.next_owners[0].silo_id


async def test_a_refusal_says_by_which_view(cluster_name):
    async with silo("third", f"{cluster_name}-far") as third, silo("fourth", f"{cluster_name}-far"):
        await until("third sees fourth", lambda: len(third.silos()) == 2)
        second = quark.Silo("second", membership=f"static://third@{third.endpoint}", handler=nothing)
        async with second:
            first = quark.Silo("first", membership=f"static://second@{second.endpoint}", handler=nothing)
            async with first:
                path = ["second", "third", "fourth"]
                goes_round = (
                    i for i in map(str, range(10_000)) if [s.owner("T", i) for s in (first, second, third)] == path
                )
                with pytest.raises(quark.NotOwnerError) as caught:
                    await first.call("T", next(goes_round), "", timeout=LIMIT)
                assert caught.value.view_version == third.view_version and "third" in caught.value.message
                assert pickle.loads(pickle.dumps(caught.value)).view_version == third.view_version
                with pytest.raises(quark.HandlerFailedError) as other:
                    raise quark.HandlerFailedError("x")
                assert other.value.view_version is None


def test_ranges_are_lists_of_pairs_with_sets_operations():
    ranges = quark.HashRanges([(30, 40), (10, 20), (21, 25), (2**32 - 1, 3)])
    assert list(ranges) == [(0, 3), (10, 25), (30, 40), (2**32 - 1, 2**32 - 1)] and len(ranges) == 4
    assert 10 in ranges and 25 in ranges and 26 not in ranges
    assert list(ranges - quark.HashRanges([(12, 35)])) == [(0, 3), (10, 11), (36, 40), (2**32 - 1, 2**32 - 1)]
    assert (ranges - quark.HashRanges([(12, 35)])) | quark.HashRanges([(12, 25), (30, 35)]) == ranges
    assert quark.HashRanges() == quark.HashRanges([]) and not quark.HashRanges() and quark.HashRanges().share == 0
    assert quark.HashRanges([(0, 2**31 - 1)]).share == 0.5
    assert pickle.loads(pickle.dumps(ranges)) == ranges == copy.deepcopy(ranges)
    assert hash(ranges) == hash(quark.HashRanges(list(ranges))) and "4" in repr(ranges)
    with pytest.raises(TypeError, match="ranges=7: must be an iterable of pairs of int, not int"):
        quark.HashRanges(7)
    with pytest.raises(TypeError, match="must be an iterable of pairs"):
        quark.HashRanges([7])
    with pytest.raises(quark.InvalidArgumentError, match="last=4294967296"):
        quark.HashRanges([(1, 2**32)])
    with pytest.raises(quark.InvalidArgumentError, match="position=-1"):
        assert -1 in ranges


def test_a_ring_says_what_each_silo_owns_and_who_is_next():
    ring = quark.HashRing()
    for number in range(5):
        ring.add(f"silo-{number}", 10 * (number + 1))
    shares = ring.shares()
    together = quark.HashRanges()
    for silo_id in ring.silos:
        assert ring.ranges(silo_id).share == shares[silo_id]
        assert not list(together - (together - ring.ranges(silo_id)))
        together |= ring.ranges(silo_id)
    assert list(together) == [(0, 2**32 - 1)] and not ring.ranges("nobody")
    key = "Counter:42"
    assert key in ring.ranges(ring.owner(key))
    assert len(ring.next_owners(key)) == 3 and len(ring.next_owners(key, 9)) == 4 and ring.next_owners(key, 0) == []
    assert set(ring.next_owners(key, 4)) | {ring.owner(key)} == set(ring.silos)
    with pytest.raises(quark.InvalidArgumentError, match="count=-1"):
        ring.next_owners(key, -1)
