"""The share of the ring by another way."""

import random
from typing import Any

import quark
from quark._command import shares
from support import vectors


def test_shares_sum_to_the_circle_and_are_what_random_keys_find():
    silos = {"a": 150, "b": 150, "c": 300, "ä": 1}
    points, ring = shares.Points(silos), quark.HashRing()
    for silo_id, number in silos.items():
        ring.add(silo_id, number)
    found = points.shares()
    assert sum(found.values()) == shares.CIRCLE and set(found) == set(silos)
    chance = random.Random(1)
    keys = [f"T:{chance.getrandbits(64)}" for _ in range(100_000)]
    owners = ring.owners(keys)
    assert owners == [points.owner(key) for key in keys]
    for silo_id in silos:
        # Five standard deviations at most.
        assert abs(owners.count(silo_id) / len(keys) - found[silo_id] / shares.CIRCLE) < 0.008


def test_owners_are_those_of_the_independent_vectors():
    for case in vectors("ring.json")["cases"]:
        points = shares.Points({silo["id"]: silo["virtual_nodes"] for silo in case["silos"]})
        assert sum(points.shares().values()) == (shares.CIRCLE if case["silos"] else 0)
        for lookup in case["lookups"]:
            assert points.owner(lookup["key"]) == lookup["owner"], (case["name"], lookup)


def test_a_point_of_two_silos_is_the_bytewise_smallest_ones(monkeypatch: Any):
    at = {"b:0": 10, "a:0": 10, "b:1": 20, "a:1": 2**32 - 1}
    monkeypatch.setattr(shares, "point_of", at.__getitem__)
    points = shares.Points({"b": 2, "a": 2})
    assert points.shares() == {"b": 10, "a": shares.CIRCLE - 10}
    assert [points.owner_of(point) for point in (0, 10, 11, 20, 21, 2**32 - 1)] == ["a", "a", "b", "b", "a", "a"]
    alone = shares.Points({"b": 1})
    assert alone.shares() == {"b": shares.CIRCLE} and shares.moves(alone, points) == {("b", "a"): shares.CIRCLE - 10}
    assert shares.Points({}).shares() == {} and shares.Points({}).owner_of(1) is None
    assert shares.moves(shares.Points({}), alone) == {(None, "b"): shares.CIRCLE}
