"""Functions that choose the silo of each call to actors of a type."""

import logging
import traceback
from typing import Callable, Optional, Tuple, Union

from ._types import SiloInfo

_log = logging.getLogger("quark.placement")

#: Takes the actor type, the actor id, the silos that serve the type, and the id of the silo or client that calls; gives the id
#: of one of these silos, or None for none.
Choose = Callable[[str, str, Tuple[SiloInfo, ...], str], Optional[str]]
#: The name of a policy, or a function of one's own.
Placement = Union[str, Choose]


def raised(actor_type: str, error: BaseException) -> None:
    """A function raised; the call ends with what it says, and here is the rest."""
    try:
        _log.error("the placement of %r failed", actor_type, exc_info=error)
    except Exception:
        traceback.print_exc()  # The program's own logging failed; there is nobody else to tell.
