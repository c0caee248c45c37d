"""The stock peer against itself: when it fails here, look no further for what it says of a silo."""

from __future__ import annotations

import threading
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

import grpc
import pytest

from stock_peer import EnvelopeMessage, StockClient, StockServer

pytestmark = pytest.mark.one_python


def upper(request: Any) -> Any:
    return EnvelopeMessage(correlation_id=request.correlation_id, response_payload=request.payload.upper())


def test_the_message_has_the_ten_original_fields_and_no_other() -> None:
    fields = {field.number: field.name for field in EnvelopeMessage.DESCRIPTOR.fields}
    assert sorted(fields) == list(range(1, 11))
    assert EnvelopeMessage(message_id="a", payload=b"b").SerializeToString() == b"\x0a\x01a\x2a\x01b"


def test_fields_that_it_does_not_know_are_ignored() -> None:
    kind_of_request = b"\x60\x01"
    assert EnvelopeMessage.FromString(b"\x0a\x01a" + kind_of_request).message_id == "a"


def test_a_request_is_answered_with_its_own_id() -> None:
    with StockServer(upper) as server, StockClient(server.address) as client:
        response = client.call({"message_id": "m-1", "payload": b"hello", "correlation_id": "c"})
        assert (response.message_id, response.response_payload, response.correlation_id) == ("m-1", b"HELLO", "c")
        assert not any(name.startswith("quark-") for name in server.metadata[0])


def test_several_requests_are_in_flight_on_one_stream() -> None:
    first_may_end = threading.Event()

    def second_ends_first(request: Any) -> Any:
        if request.payload == b"first":
            assert first_may_end.wait(10)
        return upper(request)

    with StockServer(second_ends_first) as server, StockClient(server.address) as client:
        first = client.send({"payload": b"first"})
        assert client.call(payload=b"second").response_payload == b"SECOND"
        assert not first.done()
        first_may_end.set()
        assert first.result(10).response_payload == b"FIRST"
        assert len(server.metadata) == 1


def test_a_thousand_requests_are_each_answered_once() -> None:
    with StockServer(upper) as server, StockClient(server.address) as client:
        futures = {f"{number}": client.send({"payload": f"n{number}".encode()}) for number in range(1000)}
        for number, future in futures.items():
            assert future.result(10).response_payload == f"N{number}".encode()
        assert client.unexpected.empty()


def test_a_handler_that_raises_answers_with_an_error() -> None:
    def fail(request: Any) -> Any:
        raise RuntimeError("no luck")

    with StockServer(fail) as server, StockClient(server.address) as client:
        response = client.call(payload=b"x")
        assert response.is_error and response.error_message == "no luck"


def test_a_call_without_an_answer_ends_by_its_timeout() -> None:
    with StockServer(lambda request: None) as server, StockClient(server.address) as client:
        with pytest.raises(FutureTimeout):
            client.call(payload=b"x", timeout=0.05)


def test_responses_arrive_after_the_client_has_finished_sending() -> None:
    with StockServer(upper) as server, StockClient(server.address) as client:
        future = client.send({"payload": b"last"})
        client.finish_sending()
        assert future.result(10).response_payload == b"LAST"


def test_pending_calls_fail_when_the_server_goes() -> None:
    arrived = threading.Event()
    with StockServer(lambda request: arrived.set()) as server, StockClient(server.address) as client:
        future = client.send({"payload": b"x"})
        assert arrived.wait(10)
        server.close()
        assert isinstance(future.exception(10), (grpc.RpcError, ConnectionError))


def test_a_dead_address_fails_the_call() -> None:
    with StockServer(upper) as server:
        address = server.address
    with StockClient(address) as client:
        with pytest.raises((grpc.RpcError, ConnectionError)):
            client.call(payload=b"x", timeout=20)


def test_big_payloads_pass() -> None:
    with StockServer(upper) as server, StockClient(server.address) as client:
        assert len(client.call(payload=b"x" * 8_000_000).response_payload) == 8_000_000
