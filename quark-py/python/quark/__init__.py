"""Location-transparent messaging to actors.

A program embeds a silo; silos find each other; a call to an actor reaches the one silo that owns it, whatever its
language, and the reply comes back.

    async with quark.Silo("silo-1", membership="redis://localhost", handler=on_request) as silo:
        reply = await silo.call("Greeter", "ann", "greet", b"hello")

``quark.blocking`` has the same for programs without an event loop, ``quark.testing`` a cluster with faults for tests.
"""

from . import _quark

_quark.check_interpreter()  # Before anything else of it is used.

from . import blocking  # noqa: E402
from ._aio import Client, Membership, Silo, Transport  # noqa: E402
from ._errors import *  # noqa: E402, F403
from ._errors import __all__ as _error_names  # noqa: E402
from ._handlers import current_request  # noqa: E402
from ._quark import Envelope, HashRing, Request, __version__, hash  # noqa: E402
from ._types import Health, MembershipEvent, SiloInfo, SiloStatus  # noqa: E402

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
    "current_request",
    "hash",
    *_error_names,
]

# Public names say where they are to be had.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("quark._"):
        globals()[_name].__module__ = __name__
