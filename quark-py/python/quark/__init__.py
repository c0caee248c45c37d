"""Location-transparent messaging to actors.

A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
language, and the reply comes back.

    async with quark.Silo("silo-1", membership="redis://localhost", handler=on_request) as silo:
        reply = await silo.call("Greeter", "ann", "greet", b"hello")

``quark.blocking`` has the same for programs without an event loop, ``quark.testing`` a cluster with faults for tests.
"""

from . import _quark

_quark.check_interpreter()  # Before anything else of it is used.

from . import blocking, testing
from ._aio import Client, Membership, Silo, Transport
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

# Public names say where they are to be had.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("quark._"):
        globals()[_name].__module__ = __name__
