"""A cluster inside one process, with faults on demand, for the tests of programs that use Quark.

Silos and clients whose membership is :attr:`Cluster.url` find each other at once, without Redis and without sockets. The
network between them can be cut, slowed and reset, and silos can be killed:

    async def test_the_counter_moves_when_its_silo_dies():
        async with quark.testing.Cluster() as cluster:
            async with cluster.silo("a", handler=handler) as a, cluster.silo("b", handler=handler) as b:
                cluster.kill(a)
                await b.call("Counter", "1", "get")

With pytest there is a fixture, ``quark_cluster``, which closes its cluster at the end of the test.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Any, List, Optional, Type, TypeVar, Union
from uuid import uuid4

from . import _process, _quark
from ._base import Base, ClientBase, SiloBase

if TYPE_CHECKING:
    from ._aio import Client, Silo

__all__ = ["Cluster"]

Host = Union[str, SiloBase, ClientBase]
Self = TypeVar("Self", bound="Cluster")


class Cluster:
    """Silos and clients of this process, and the network between them.

    Methods may be called from any thread and take effect at once. Hosts are given as silos or clients, or by their ids.
    Use it with ``with`` or ``async with``, or :meth:`close` it.
    """

    def __init__(self, *, patience: float = 1.0) -> None:
        """``patience``: after so many seconds without an answer to a probe a silo gives a link up, and calls that were
        sent on it end with :class:`quark.ConnectionLostError`. A real network is given 8.
        """
        name = f"test-{uuid4().hex}"
        #: The membership of its silos and clients; give it to the program under test.
        self.url: str = f"memory://{name}"
        self._name = name
        self._network = _quark.Network(name, patience)

    def silo(self, silo_id: str, **options: Any) -> "Silo":
        """A silo of this cluster, not started yet; the options are those of :class:`quark.Silo`."""
        from ._aio import Silo

        return Silo(silo_id, membership=self.url, **options)

    def client(self, **options: Any) -> "Client":
        """A client of this cluster, not started yet; the options are those of :class:`quark.Client`."""
        from ._aio import Client

        return Client(membership=self.url, **options)

    def cut(self, one: Host, other: Host, *, one_way: bool = False) -> None:
        """Nothing gets through between the two any more, or from ``one`` to ``other`` only. Both stay in the cluster:
        the other silos see them, as when two machines cannot reach each other and both reach the store.
        """
        self._network.cut(_id(one), _id(other))
        if not one_way:
            self._network.cut(_id(other), _id(one))

    def heal(self, one: Optional[Host] = None, other: Optional[Host] = None) -> None:
        """Takes the cuts between the two back, in both directions; without arguments all cuts."""
        if one is None and other is None:
            self._network.heal_all()
        elif one is None or other is None:
            raise TypeError("heal: takes two hosts, or none for all cuts")
        else:
            self._network.heal(_id(one), _id(other))
            self._network.heal(_id(other), _id(one))

    def delay(
        self, seconds: float, *, jitter: float = 0.0, one: Optional[Host] = None, other: Optional[Host] = None
    ) -> None:
        """Each message takes ``seconds``, and up to ``jitter`` more, from now on: all of them, or those between the
        two hosts, in both directions. ``delay(0)`` ends it. Messages of one link keep their order.
        """
        if one is None and other is None:
            self._network.delay(seconds, jitter)
        elif one is None or other is None:
            raise TypeError("delay: takes two hosts, or none for all messages")
        else:
            self._network.delay_way(_id(one), _id(other), seconds, jitter)
            self._network.delay_way(_id(other), _id(one), seconds, jitter)

    def reset(self, one: Host, other: Host) -> None:
        """Breaks the links between the two: what was sent and not answered ends with
        :class:`quark.ConnectionLostError`. New links are made when they are needed."""
        self._network.reset(_id(one), _id(other))

    def kill(self, host: Host) -> None:
        """Ends a silo or client at once, as ``kill -9`` would. The others see it gone; its calls and those on their way
        to it end with an error; its handlers may still run, but their answers go nowhere."""
        killed = [node for node in self._nodes() if node.id == _id(host)]
        if not killed:
            raise ValueError(f"host={_id(host)!r}: no such silo or client runs in this cluster")
        for node in killed:
            node.abort()
        self._network.settle()

    def close(self) -> None:
        """Kills all that is left. A second time has no effect."""
        self._network.close()
        left = self._nodes()
        for node in left:
            node.abort()
        if left:
            self._network.settle()

    def _nodes(self) -> "List[_quark.Node]":
        return [node for node in list(_process.nodes) if node.network == self._name and node.is_running]

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<quark.testing.Cluster {self.url} {sorted(node.id for node in self._nodes())}>"


def _id(host: Host) -> str:
    if isinstance(host, str):
        return host
    if isinstance(host, Base):
        return host._node.id
    raise TypeError(f"host={host!r}: must be a silo, a client or an id, not {type(host).__name__}")
