"""Location-transparent messaging to actors.

A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
language, and the reply comes back.

    async with quark.Silo("silo-1", membership="redis://localhost", handler=on_request) as silo:
        reply = await silo.call("Greeter", "ann", "greet", b"hello")

``quark.blocking`` has the same for programs without an event loop.
"""

from . import blocking
from ._errors import *  # noqa: F403
from ._quark import Envelope, HashRing, Request, __version__, hash
from ._silo import Client, Membership, Silo, Transport
from ._types import Health, MembershipEvent, SiloInfo, SiloStatus

# In full, because type checkers read it and do not run it.
__all__ = [
    "AddressInUseError",
    "CallCancelledError",
    "Client",
    "ConnectionLostError",
    "Envelope",
    "HandlerFailedError",
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
    "PayloadTooLargeError",
    "ProtocolError",
    "QuarkError",
    "QuarkTimeoutError",
    "ReentrantError",
    "Request",
    "Silo",
    "SiloInfo",
    "SiloStatus",
    "Transport",
    "UnauthenticatedError",
    "UnreachableError",
    "__version__",
    "blocking",
    "hash",
]
