"""Location-transparent messaging to actors.

A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
language, and the reply comes back.

    async with quark.Silo("silo-1", membership="redis://localhost", handler=on_request) as silo:
        reply = await silo.call("Greeter", "ann", "greet", b"hello")

``quark.blocking`` has the same for programs without an event loop, ``quark.testing`` a cluster with faults for tests.
"""

from typing import TYPE_CHECKING, Any, List

from . import _quark

_quark.check_interpreter()  # Before anything else of it is used.

from . import blocking, testing
from ._errors import *
from ._handlers import current_request
from ._quark import Envelope, HashRanges, HashRing, Request, __version__, hash
from ._types import Explanation, Health, MembershipEvent, OwnershipChange, SiloInfo, SiloStatus, Tls

# In full, because type checkers read it and do not run it.
__all__ = [
    "AddressInUseError",
    "CallCancelledError",
    "Client",
    "ConnectionLostError",
    "Envelope",
    "Explanation",
    "HandlerFailedError",
    "HashRanges",
    "HashRing",
    "Health",
    "IdInUseError",
    "IncompatibleError",
    "InternalError",
    "InvalidArgumentError",
    "IsolatedError",
    "Membership",
    "MembershipEvent",
    "MembershipUnavailableError",
    "NoHandlerError",
    "NoSiloError",
    "NotOwnerError",
    "NotRunningError",
    "OverloadedError",
    "OwnershipChange",
    "PayloadTooLargeError",
    "ProtocolError",
    "QuarkError",
    "QuarkTimeoutError",
    "ReentrantError",
    "Request",
    "Silo",
    "SiloInfo",
    "SiloStatus",
    "Tls",
    "Transport",
    "UnauthenticatedError",
    "UnreachableError",
    "__version__",
    "blocking",
    "current_request",
    "hash",
    "testing",
]

if TYPE_CHECKING:
    from ._aio import Client, Membership, Silo, Transport
else:
    # What asyncio programs use, when it is asked for: blocking ones need no asyncio, a third of an idle silo's memory.
    _OF_ASYNCIO = ("Client", "Membership", "Silo", "Transport")

    def __getattr__(name: str) -> Any:
        if name not in _OF_ASYNCIO:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _aio

        globals().update({there: getattr(_aio, there) for there in _OF_ASYNCIO})
        return globals()[name]

    def __dir__() -> List[str]:
        return sorted(__all__)


# Public names say where they are to be had.
for _name in __all__:
    if getattr(globals().get(_name), "__module__", "").startswith("quark._"):
        globals()[_name].__module__ = __name__
