"""A plain server: answers what arrives on its streams, each request in a thread."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Callable, Iterator, Optional

import grpc

from .messages import METHOD_PATH, decode, encode

Handler = Callable[[Any], Optional[Any]]
"""Gets a request and returns the response message, or None to leave it unanswered. Its message_id is filled in."""

_END = object()


class StockServer:
    """Serves ActorStream on a free port of 127.0.0.1 as long as its `with` block lasts."""

    def __init__(self, handler: Handler, *, threads: int = 32, options: dict[str, Any] | None = None) -> None:
        self._handler = handler
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="stock-handler")
        # A thread of grpcio's pool is taken for as long as a stream lives.
        self._streams = ThreadPoolExecutor(threads, thread_name_prefix="stock-stream")
        unlimited = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        self._server = grpc.server(self._streams, options=list({**unlimited, **(options or {})}.items()))
        self._server.add_generic_rpc_handlers((_Service(self._serve),))
        self.metadata: list[dict[str, Any]] = []
        """What the peers of the streams so far said of themselves, for tests; this server makes nothing of it."""
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> StockServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends every stream and frees the port."""
        self._server.stop(grace=None).wait(10)
        self._workers.shutdown()
        self._streams.shutdown()

    def _serve(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self.metadata.append(dict(context.invocation_metadata()))
        responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        context.add_callback(lambda: responses.put(_END))
        reader = threading.Thread(target=self._read, args=(requests, responses), name="stock-reader", daemon=True)
        reader.start()
        while (response := responses.get()) is not _END:
            yield response
        reader.join(10)

    def _read(self, requests: Iterator[Any], responses: queue.SimpleQueue[Any]) -> None:
        running = []
        try:
            for request in requests:
                running.append(self._workers.submit(self._answer, request, responses))
                running = [task for task in running if not task.done()]
        except Exception:
            # The stream was broken off, which grpcio tells by an exception without a type.
            pass
        for task in running:
            task.exception()
        responses.put(_END)

    def _answer(self, request: Any, responses: queue.SimpleQueue[Any]) -> None:
        try:
            response = self._handler(request)
        except Exception as error:
            response = type(request)(is_error=True, error_message=str(error))
        if response is not None:
            response.message_id = request.message_id
            responses.put(response)


class _Service(grpc.GenericRpcHandler):
    """Routes the one method."""

    def __init__(self, serve: Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]) -> None:
        self._method = grpc.stream_stream_rpc_method_handler(serve, decode, encode)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._method if handler_call_details.method == METHOD_PATH else None
