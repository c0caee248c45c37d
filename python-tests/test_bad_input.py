"""Bad input: each a clear error that names argument and value."""

import math

import pytest
import quark
from quark import blocking
from support import vectors

TABLE = vectors("bad_input.json")


@pytest.mark.parametrize("case", TABLE["starts"], ids=lambda case: f"{case['argument']}={case['value']}")
async def test_the_table_of_all_languages_for_starts(case):
    value = {"T": case["value"]} if case["argument"] == "placement" else case["value"]
    options = {"silo_id": "a", "membership": "memory://bad", "handler": print, case["argument"]: value}
    with pytest.raises(quark.QuarkError) as caught:
        await quark.Silo(**options).start()
    assert caught.value.name == case["code"] and case["contains"] in caught.value.message


@pytest.mark.parametrize("case", TABLE["limits"], ids=lambda case: f"{case['argument']}={case['value']}")
async def test_the_table_of_all_languages_for_limits(case):
    silo = quark.Silo("a", membership="memory://bad", handler=print, **{case["argument"]: case["value"]})
    with pytest.raises(quark.QuarkError) as caught:
        await silo.start()
    assert caught.value.name == case["code"] and case["contains"] in caught.value.message


@pytest.mark.parametrize("case", TABLE["calls"], ids=lambda case: f"{case['argument']}={case['value']!r}")
async def test_the_table_of_all_languages_for_calls(cluster_name, case):
    names = {"actor_type": "T", "actor_id": "1", "method_name": "", case["argument"]: case["value"]}
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=lambda request: request.payload) as silo:
        with pytest.raises(quark.QuarkError) as caught:
            await silo.call(names["actor_type"], names["actor_id"], names["method_name"])
        assert caught.value.name == case["code"] and case["contains"] in caught.value.message
        assert await silo.call("T", "1", "", b"x") == b"x"
        for ask in (silo.owns, silo.explain) if case["argument"] != "method_name" else ():
            with pytest.raises(quark.QuarkError) as caught:
                ask(names["actor_type"], names["actor_id"])
            assert caught.value.name == case["code"] and case["contains"] in caught.value.message


BAD_SILOS = [
    ({"silo_id": ""}, ValueError, 'silo_id=""'),
    ({"silo_id": "a\0b"}, ValueError, "silo_id="),
    ({"silo_id": "x" * 256}, ValueError, "256 bytes long"),
    ({"silo_id": 7}, TypeError, "silo_id=7: must be str, not int"),
    ({"membership": "nonsense"}, ValueError, 'membership="nonsense"'),
    ({"membership": "http://x"}, ValueError, "unknown scheme"),
    ({"membership": b"memory://x"}, TypeError, "membership=b'memory://x': must be str"),
    ({"listen": "nonsense"}, ValueError, 'listen="nonsense"'),
    ({"virtual_nodes": -1}, ValueError, "virtual_nodes=-1"),
    ({"virtual_nodes": "150"}, TypeError, "virtual_nodes='150': must be int, not str"),
    ({"default_timeout": 0}, ValueError, "default_timeout=0"),
    ({"handshake_timeout": 0}, ValueError, "handshake_timeout=0"),
    ({"default_timeout": -1.0}, ValueError, "default_timeout=-1"),
    ({"default_timeout": math.nan}, ValueError, "default_timeout=NaN"),
    ({"default_timeout": math.inf}, ValueError, "default_timeout=inf"),
    ({"default_timeout": "5"}, TypeError, "default_timeout='5': must be a number of seconds"),
    ({"placement": {"T": "nearest"}}, ValueError, 'placement="nearest"'),
    ({"handler": 7}, TypeError, "handler=7: must be callable, not int"),
    ({"handlers": ["T"]}, TypeError, "handlers=['T']: must be a mapping"),
    ({"handlers": {7: print}}, TypeError, "the actor type 7 must be str, not int"),
    ({"handler_threads": 0}, ValueError, "handler_threads=0"),
    ({"allow_plaintext": 1}, TypeError, "allow_plaintext=1: must be bool, not int"),
]


@pytest.mark.parametrize(("options", "kind", "text"), BAD_SILOS, ids=lambda value: str(value)[:40])
def test_a_silo_cannot_be_made_of_it(options, kind, text):
    with pytest.raises(kind) as caught:
        quark.Silo(**{"silo_id": "a", "membership": "memory://bad", **options})
    assert text in str(caught.value)


BAD_STARTS = [
    ({"virtual_nodes": 0}, quark.InvalidArgumentError, "virtual_nodes=0"),
    ({"listen": "0.0.0.0:0"}, quark.InvalidArgumentError, "advertise"),
    ({"listen": "192.0.2.1:0"}, quark.InvalidArgumentError, "allow_plaintext"),
    ({"cluster": "a b"}, quark.InvalidArgumentError, 'cluster="a b"'),
    ({"ttl": 1.0, "heartbeat": 2.0}, quark.InvalidArgumentError, "heartbeat=2s"),
    ({"membership": "redis://u:canary-secret@127.0.0.1:1", "start_timeout": 0.5}, quark.MembershipUnavailableError, "127.0.0.1:1"),
]


@pytest.mark.parametrize(("options", "kind", "text"), BAD_STARTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
async def test_a_silo_does_not_start_with_it(options, kind, text):
    silo = quark.Silo(**{"silo_id": "a", "membership": "memory://bad", **options})
    with pytest.raises(kind) as caught:
        await silo.start()
    assert text in str(caught.value) and "secret" not in str(caught.value)


BAD_CALLS = [
    (("", "1", ""), {}, ValueError, 'actor_type=""'),
    (("T", "", ""), {}, ValueError, 'actor_id=""'),
    (("T", "a\n", ""), {}, ValueError, "control characters"),
    (("T", "x" * 1025, ""), {}, ValueError, "1025 bytes long"),
    ((None, "1", ""), {}, TypeError, "actor_type=None: must be str"),
    (("T", 1, ""), {}, TypeError, "actor_id=1: must be str, not int"),
    (("T", "\ud800", ""), {}, ValueError, "actor_id="),
    (("T", "1", 3), {}, TypeError, "method=3"),
    (("T", "1", "", "text"), {}, TypeError, "payload='text': must be bytes-like, not str"),
    (("T", "1", ""), {"timeout": 0}, ValueError, "timeout=0"),
    (("T", "1", ""), {"timeout": -1}, ValueError, "timeout=-1"),
    (("T", "1", ""), {"timeout": "1"}, TypeError, "timeout='1'"),
    (("T", "1", ""), {"timeout": True}, TypeError, "timeout=True"),
]


@pytest.mark.parametrize(("arguments", "options", "kind", "text"), BAD_CALLS, ids=lambda value: str(value)[:40])
async def test_a_call_cannot_be_made_with_it_and_nothing_is_lost(cluster_name, arguments, options, kind, text):
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=lambda request: request.payload) as silo:
        for attempt in (silo.call, silo.notify):
            with pytest.raises(kind) as caught:
                await attempt(*arguments, **options)
            assert text in str(caught.value)
        assert await silo.call("T", "1", "", b"x") == b"x"


async def test_a_taken_address_and_a_taken_id_are_named(cluster_name):
    url = f"memory://{cluster_name}"
    async with quark.Silo("a", membership=url, handler=print) as a:
        with pytest.raises(quark.AddressInUseError) as caught:
            await quark.Silo("b", membership=url, listen=a.endpoint).start()
        assert a.endpoint in str(caught.value)
        with pytest.raises(quark.IdInUseError) as caught:
            await quark.Silo("a", membership=url).start()
        assert a.endpoint in str(caught.value)


async def answered_by(handler, cluster_name):
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=handler) as silo:
        with pytest.raises(quark.HandlerFailedError) as caught:
            await silo.call("T", "1", "", b"")
        return caught.value


async def test_what_a_handler_raises_arrives_whatever_its_text(cluster_name):
    def surrogates(request):
        raise ValueError(b"caf\xe9.txt".decode("utf-8", "surrogateescape"))

    error = await answered_by(surrogates, cluster_name)
    assert (error.exception_type, error.exception_text) == ("ValueError", "caf\\udce9.txt")


async def test_what_a_call_of_a_handler_raised_there_reaches_the_first_caller(cluster_name):
    async def outer(request):
        if request.actor_id == "1":
            return await quark_silo.call("T", "inner", "")
        raise LookupError("inner")

    quark_silo = quark.Silo("a", membership=f"memory://{cluster_name}", handler=outer)
    async with quark_silo:
        with pytest.raises(quark.HandlerFailedError) as caught:
            await quark_silo.call("T", "1", "")
    assert (caught.value.exception_type, caught.value.exception_text) == ("LookupError", "inner")


async def test_a_lambda_that_returns_a_coroutine_is_told_what_to_do(cluster_name):
    async def handler(request):
        return b""

    error = await answered_by(lambda request: handler(request), cluster_name)
    assert "make it an `async def`" in error.message


def test_what_an_unset_variable_gives_is_no_silo_id_and_no_membership():
    for make in (quark.Silo, blocking.Silo):
        with pytest.raises(TypeError, match="silo_id=None: must be str, not NoneType"):
            make(None, membership="memory://x", handler=print)
        with pytest.raises(TypeError, match="membership=None: must be str, not NoneType"):
            make("a", membership=None, handler=print)
    with pytest.raises(TypeError, match="membership=None: must be str, not NoneType"):
        quark.Client(membership=None)


async def test_other_arguments_are_named_too(cluster_name):
    with pytest.raises(TypeError, match=r"handlers\['A'\]=None: must be callable, not NoneType"):
        quark.Silo("a", membership="memory://x", handlers={"A": None})
    async with quark.Silo("a", membership=f"memory://{cluster_name}", handler=print) as silo:
        with pytest.raises(TypeError, match="drain=None: must be a number of seconds, not NoneType"):
            await silo.stop(None)
        with pytest.raises(quark.InvalidArgumentError, match="drain=-1.0: must be 0 or a positive"):
            await silo.stop(-1.0)
        with pytest.raises(TypeError, match="envelope='x': must be quark.Envelope, not str"):
            await silo.send("x")
        with pytest.raises(TypeError, match="^calls=3: must be an iterable of tuples, not int"):
            await silo.call_many(3)
