"""Silos and clients for programs without an event loop: the same names, without ``await``.

Usable from any thread; Ctrl-C interrupts a call. Handlers are plain functions.
"""

from types import TracebackType
from typing import Optional, Type

from . import _handlers, _logging
from ._errors import NotRunningError
from ._quark import Envelope
from ._silo import Base, ClientBase, Payload, Self, SiloBase, _context

__all__ = ["Client", "Silo"]


class _Blocking(Base):
    """The verbs, blocking."""

    def start(self) -> None:
        """Starts; returns when it sees itself and the others."""
        _logging.follow()
        self._origin.starts_here()
        self._node.start(None)

    def stop(self, drain: float = 10.0) -> None:
        """Tells the others, answers what came in, waits for what runs, ``drain`` seconds at most, and leaves.

        A second stop has no effect. From inside a handler it returns at once, and the stop happens when the handler
        has returned.
        """
        if _handlers.handling.get():
            self._node.stop_soon(drain)
        else:
            self._node.stop(None, drain)

    def __enter__(self: Self) -> Self:
        self.start()  # type: ignore[attr-defined]
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            self.stop()
        except NotRunningError:
            pass  # A forked child leaves the block, and has nothing to stop.

    def call(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
    ) -> bytes:
        """Calls an actor wherever it lives and returns the reply; see :meth:`quark.Silo.call`."""
        context = _context(correlation_id, traceparent)
        return self._node.call_blocking(actor_type, actor_id, method, payload, timeout, context)

    def notify(
        self,
        actor_type: str,
        actor_id: str,
        method: str,
        payload: Payload = b"",
        *,
        timeout: Optional[float] = None,
        correlation_id: Optional[str] = None,
        traceparent: Optional[str] = None,
    ) -> None:
        """Sends one way; see :meth:`quark.Silo.notify`."""
        context = _context(correlation_id, traceparent)
        self._node.notify(None, actor_type, actor_id, method, payload, timeout, context)

    def send(self, envelope: Envelope, *, timeout: Optional[float] = None) -> Envelope:
        """Sends an envelope to whoever owns its actor and returns the response envelope."""
        response: Envelope = self._node.send(None, envelope, timeout)
        return response


class Silo(SiloBase, _Blocking):
    """A member of the cluster; see :class:`quark.Silo`."""


class Client(ClientBase, _Blocking):
    """Calls actors and hosts nothing; see :class:`quark.Client`."""
