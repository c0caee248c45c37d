"""The ring, envelopes and errors."""

import copy
import pickle
import random
import re

import pytest
import quark
from quark import _errors, _quark
from support import ends_well, vectors


def test_the_rings_owners_are_those_of_the_vectors():
    for case in vectors("ring.json")["cases"]:
        ring = quark.HashRing()
        for silo in case["silos"]:
            assert ring.add(silo["id"], silo["virtual_nodes"])
            assert not ring.add(silo["id"], 1)
        keys = [lookup["key"] for lookup in case["lookups"]]
        assert [quark.hash(key) for key in keys] == [lookup["hash"] for lookup in case["lookups"]]
        assert [ring.owner(key) for key in keys] == [lookup["owner"] for lookup in case["lookups"]]
        assert ring.owners(keys) == [lookup["owner"] for lookup in case["lookups"]]
        assert ring.owners(key for key in keys) == ring.owners(tuple(keys)) == ring.owners(keys)
        assert len(ring) == len(case["silos"]) and ring.silos == sorted(silo["id"] for silo in case["silos"])


def test_keys_that_are_none_are_named():
    ring = quark.HashRing()
    for keys, told in (
        (["a", 7], "keys[1]=7: must be str, not int"),
        ("ab", "keys='ab': must be an iterable of strings, not str"),
        (7, "keys=7: must be an iterable of strings, not int"),
    ):
        with pytest.raises(TypeError, match=re.escape(told)):
            ring.owners(keys)
    with pytest.raises(quark.InvalidArgumentError, match=re.escape("keys[0]=")):
        ring.owners(["\ud800"])


def test_an_empty_ring_has_no_owner():
    ring = quark.HashRing()
    assert ring.owner("x") is None and len(ring) == 0 and not ring.remove("x")


@pytest.mark.parametrize("case", vectors("envelopes.json")["cases"], ids=lambda case: case["name"])
def test_envelopes_are_byte_for_byte_those_of_the_vectors(case):
    fields = dict(case["fields"])
    for name in ("payload", "response_payload"):
        if name in fields:
            fields[name] = bytes.fromhex(fields[name])
    if "timestamp" in fields:
        fields["timestamp"] = int(fields["timestamp"])
    envelope = quark.Envelope(**fields)
    data = bytes.fromhex(case["bytes"])
    assert envelope.encode() == data
    assert quark.Envelope.decode(data) == envelope
    assert pickle.loads(pickle.dumps(envelope)) == envelope
    for name, value in fields.items():
        assert getattr(envelope, name) == value


def test_what_is_no_envelope_is_refused():
    with pytest.raises(quark.ProtocolError):
        quark.Envelope.decode(b"\xff")
    with pytest.raises(TypeError, match="has no field colour"):
        quark.Envelope(colour="red")
    with pytest.raises(TypeError, match="payload='x': must be bytes-like, not str"):
        quark.Envelope(payload="x")


def test_every_code_has_its_class():
    kinds = _quark.error_kinds()
    assert len(kinds) == len(_errors._IN_ORDER) == 21
    for code, (name, _, delivered, retryable) in kinds.items():
        error = _errors.error_from_code(code, "why", delivered, retryable)
        assert isinstance(error, quark.QuarkError) and error.code == code and error.name == name
        assert str(error) == f"{name}: why" and type(error).__name__ in repr(error)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and (again.delivered, again.retryable) == (delivered, retryable)
        expected = name.replace("_", "").lower().replace("timeout", "quarktimeout").replace("cancelled", "callcancelled")
        assert type(error).__name__.lower() in (expected + "error", expected.replace("internal", "internal") + "error")


def test_silo_infos_are_values():
    info = quark.SiloInfo("a", "127.0.0.1:1", labels={"k": "v"})
    assert pickle.loads(pickle.dumps(info)) == info and hash(info) == hash(quark.SiloInfo("a", "127.0.0.1:1"))
    assert "SiloInfo(silo_id='a'" in repr(info)


VALUES = [
    quark.SiloInfo("a", "h:1", actor_types=("T",), labels={"k": "v"}),
    quark.Health("degraded", "membership store", "away"),
    quark.MembershipEvent("joined", quark.SiloInfo("a", "h:1")),
    quark.Envelope(actor_type="T", actor_id="1", payload=b"x"),
    quark.SiloStatus.SHUTTING_DOWN,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_travel_by_pickle_and_copy(value, protocol):
    assert pickle.loads(pickle.dumps(value, protocol)) == value
    assert copy.deepcopy(value) == value
    assert repr(value).startswith(("quark.", "<quark.", type(value).__name__, "<SiloStatus"))


def test_a_ring_travels_by_pickle_and_tells_shares():
    ring = quark.HashRing()
    assert ring.shares() == {}
    ring.add("a", 100)
    ring.add("b", 300)
    again = pickle.loads(pickle.dumps(ring))
    assert again == ring and again.virtual_nodes() == {"a": 100, "b": 300}
    assert again.set_virtual_nodes("a", 600) and not again.set_virtual_nodes("c", 600)
    assert again != ring and again.virtual_nodes() == {"a": 600, "b": 300}
    with pytest.raises(quark.InvalidArgumentError, match="virtual_nodes=0"):
        again.set_virtual_nodes("a", 0)
    again.remove("a")
    assert again != ring and again.shares() == {"b": 1.0}
    shares = ring.shares()
    assert sum(shares.values()) == 1.0
    chance = random.Random(1)
    owners = ring.owners([f"T:{chance.getrandbits(64)}" for _ in range(100_000)])
    # Five standard deviations at most.
    assert abs(owners.count("b") / len(owners) - shares["b"]) < 0.008
    assert again.moves(ring) == {("b", "a"): shares["a"]} and ring.moves(ring) == {}
    assert quark.HashRing().moves(again) == {(None, "b"): 1.0}


@pytest.mark.parametrize(
    "message, kind, text",
    [
        ("InsufficientFunds: balance: 3", "InsufficientFunds", "balance: 3"),
        ("KeyError: 'x'\nand more", "KeyError", "'x'\nand more"),
        ("Empty", "Empty", ""),
        ("the handler panicked: oops", None, "the handler panicked: oops"),
        ("", None, ""),
        ("std::runtime_error: no", None, "std::runtime_error: no"),
    ],
)
def test_what_a_handler_raised_can_be_told(message, kind, text):
    error = pickle.loads(pickle.dumps(quark.HandlerFailedError(message)))
    assert (error.exception_type, error.exception_text) == (kind, text)


def test_blocking_programs_do_without_asyncio():
    ends_well(
        """
import sys
from quark import blocking
import quark

with blocking.Silo("a", membership="memory://without", handler=lambda request: request.payload) as silo:
    assert silo.call("T", "1", "m", b"x") == b"x"
    with quark.testing.Cluster(), blocking.Client(membership="memory://without") as client:
        assert client.call("T", "1", "m", b"y") == b"y"
assert "asyncio" not in sys.modules
with quark.testing.Cluster() as cluster:
    assert type(cluster.client()).__module__ == "quark"
assert "Silo" in dir(quark) and quark.Silo.__module__ == "quark" and "asyncio" in sys.modules
try:
    quark.Silos
except AttributeError as error:
    assert "module 'quark' has no attribute 'Silos'" in str(error), error
else:
    raise AssertionError
"""
    )


def test_public_names_say_where_they_are_to_be_had():
    for name in quark.__all__:
        value = getattr(quark, name)
        if isinstance(value, type):
            assert value.__module__ == "quark", name
            assert getattr(quark, value.__name__) is value
