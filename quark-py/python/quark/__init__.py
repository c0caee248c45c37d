"""Location-transparent messaging to actors.

A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
language, and the reply comes back.

    async with quark.Silo("silo-1", membership="redis://localhost", handler=on_request) as silo:
        reply = await silo.call("Greeter", "ann", "greet", b"hello")

``quark.blocking`` has the same for programs without an event loop.
"""

from . import blocking
from ._errors import *  # noqa: F403
from ._errors import __all__ as _error_names
from ._quark import Envelope, HashRing, Request, __version__, hash
from ._silo import Client, Membership, Silo, Transport
from ._types import Health, MembershipEvent, SiloInfo, SiloStatus

__all__ = [
    "Client",
    "Envelope",
    "HashRing",
    "Health",
    "Membership",
    "MembershipEvent",
    "Request",
    "Silo",
    "SiloInfo",
    "SiloStatus",
    "Transport",
    "__version__",
    "blocking",
    "hash",
    *_error_names,
]
