"""A plain client: one stream, several requests in flight, responses matched by their message id."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Iterator

import grpc

from .messages import METHOD_PATH, decode, encode, new_message


class StockClient:
    """Dials `host:port` and opens one stream, which every call from every thread shares.

    Use it as a context manager, or `close()` it. When the stream ends, pending calls raise what ended it
    (`grpc.RpcError`), or `ConnectionError` if it just ended.
    """

    def __init__(self, address: str, *, options: dict[str, Any] | None = None) -> None:
        unlimited = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        self._channel = grpc.insecure_channel(address, options=list({**unlimited, **(options or {})}.items()))
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pending: dict[str, Future[Any]] = {}
        self._ended: BaseException | None = None
        self.unexpected: queue.SimpleQueue[Any] = queue.SimpleQueue()
        """Messages that answer nothing: a well-behaved silo sends none to a plain client."""
        open_stream = self._channel.stream_stream(METHOD_PATH, request_serializer=encode, response_deserializer=decode)
        self._stream = open_stream(self._requests())
        self._reader = threading.Thread(target=self._read, name="stock-client", daemon=True)
        self._reader.start()

    def __enter__(self) -> StockClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def call(self, envelope_fields: dict[str, Any] | None = None, timeout: float = 10.0, **fields: Any) -> Any:
        """Sends a request and returns its response message; fields may be given either way."""
        return self.send({**(envelope_fields or {}), **fields}).result(timeout)

    def send(self, envelope_fields: dict[str, Any]) -> Future[Any]:
        """Sends a request and returns at once; the future becomes its response message."""
        request = new_message(**envelope_fields)
        future: Future[Any] = Future()
        with self._lock:
            if self._ended is not None:
                raise self._ended
            if request.message_id in self._pending:
                raise ValueError(f"message_id {request.message_id!r} is in flight")
            self._pending[request.message_id] = future
        self._outgoing.put(request)
        return future

    def send_without_waiting(self, envelope_fields: dict[str, Any]) -> None:
        """Sends a message and forgets it; what comes back is found in `unexpected`."""
        self._outgoing.put(new_message(**envelope_fields))

    def finish_sending(self) -> None:
        """Half-closes the stream: nothing more is sent, responses still arrive."""
        self._outgoing.put(None)

    def close(self) -> None:
        """Ends the stream and the connection."""
        self.finish_sending()
        self._stream.cancel()
        self._reader.join(10)
        self._channel.close()

    def _requests(self) -> Iterator[Any]:
        while (request := self._outgoing.get()) is not None:
            yield request

    def _read(self) -> None:
        ended: BaseException = ConnectionError("the stream ended")
        try:
            for response in self._stream:
                with self._lock:
                    future = self._pending.pop(response.message_id, None)
                if future is None:
                    self.unexpected.put(response)
                else:
                    future.set_result(response)
        except grpc.RpcError as error:
            ended = error
        with self._lock:
            self._ended = ended
            pending = list(self._pending.values())
            self._pending.clear()
        for future in pending:
            future.set_exception(ended)
        self._outgoing.put(None)
