"""The exceptions: one class for each code, all under :class:`QuarkError`."""

import re
from typing import Any, ClassVar, Dict, Tuple, Type

from . import _quark

__all__ = [
    "AddressInUseError",
    "CallCancelledError",
    "ConnectionLostError",
    "HandlerFailedError",
    "IdInUseError",
    "IncompatibleError",
    "InternalError",
    "InvalidArgumentError",
    "IsolatedError",
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
    "UnauthenticatedError",
    "UnreachableError",
]


class QuarkError(Exception):
    """Any failure of Quark.

    ``code`` is its number and ``name`` its name as in the documentation, ``delivered`` says whether the handler got
    the request (``"no"``, ``"yes"`` or ``"unknown"``), ``retryable`` whether the same call may be made again without
    the risk of running twice. With ``NotOwnerError``, ``view_version`` is that of the view by which the silo that refused
    is not the owner: one of that silo's own views, whose versions only grow.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""
    _delivered: ClassVar[str] = "unknown"
    _retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str = "",
        *,
        delivered: "str | None" = None,
        retryable: "bool | None" = None,
        view_version: "int | None" = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.delivered: str = self._delivered if delivered is None else delivered
        self.retryable: bool = self._retryable if retryable is None else retryable
        self.view_version = view_version

    def __str__(self) -> str:
        return f"{self.name}: {self.message}" if self.name else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, delivered={self.delivered!r}, retryable={self.retryable!r})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return _restore, (type(self), self.message, self.delivered, self.retryable, self.view_version)


def _restore(
    kind: Type[QuarkError], message: str, delivered: str, retryable: bool, view_version: "int | None" = None
) -> QuarkError:
    return kind(message, delivered=delivered, retryable=retryable, view_version=view_version)


class InvalidArgumentError(QuarkError, ValueError):
    """An argument cannot be used; the message names it and its value."""


class NotRunningError(QuarkError):
    """Before start, after stop, or in a forked child."""


class NoSiloError(QuarkError):
    """No silo in the view serves that actor type."""


class UnreachableError(QuarkError, ConnectionError):
    """There was no link to the owner before the deadline."""


class ConnectionLostError(QuarkError, ConnectionError):
    """The link broke after the request was sent."""


class QuarkTimeoutError(QuarkError, TimeoutError):
    """The deadline passed."""


class CallCancelledError(QuarkError):
    """The caller gave up."""


class OverloadedError(QuarkError):
    """A bounded queue is full."""


class PayloadTooLargeError(QuarkError, ValueError):
    """The payload is over the limit; the message has both sizes."""


class HandlerFailedError(QuarkError):
    """The handler raised, panicked or dropped the request; carries its message.

    What a Python handler raises arrives as ``Type: text``; handlers in other languages may keep to that form too.
    """

    @property
    def exception_type(self) -> "str | None":
        """The name of the class that the handler raised; None where the message is not of that form."""
        found = _RAISED.match(self.message)
        return found.group(1) if found else None

    @property
    def exception_text(self) -> str:
        """What the exception said; the whole message where it is not of that form."""
        found = _RAISED.match(self.message)
        return self.message if found is None else found.group(2) or ""


_RAISED = re.compile(r"([A-Za-z_]\w*)(?:: (.*))?\Z", re.DOTALL)


class NoHandlerError(QuarkError):
    """The target has no handler for that actor type."""


class NotOwnerError(QuarkError):
    """The target does not own the actor and could not pass the request on."""


class MembershipUnavailableError(QuarkError, ConnectionError):
    """The membership store cannot be reached at start."""


class UnauthenticatedError(QuarkError, PermissionError):
    """TLS or identity was refused, by either side."""


class ProtocolError(QuarkError):
    """The peer sent what cannot be understood."""


class InternalError(QuarkError):
    """A defect of Quark itself."""


class IdInUseError(QuarkError):
    """Another live silo has the id; the message names its endpoint."""


class AddressInUseError(QuarkError, OSError):
    """The listen address is taken."""


class IsolatedError(QuarkError):
    """This silo is cut off and does not own anything now."""


class IncompatibleError(QuarkError):
    """Other cluster name, protocol too old, or virtual nodes refused."""


class ReentrantError(QuarkError):
    """A blocking operation that would wait for its own callback."""


#: In the order of the codes, which never change.
_IN_ORDER = (
    InvalidArgumentError,
    NotRunningError,
    NoSiloError,
    UnreachableError,
    ConnectionLostError,
    QuarkTimeoutError,
    CallCancelledError,
    OverloadedError,
    PayloadTooLargeError,
    HandlerFailedError,
    NoHandlerError,
    NotOwnerError,
    MembershipUnavailableError,
    UnauthenticatedError,
    ProtocolError,
    InternalError,
    IdInUseError,
    AddressInUseError,
    IsolatedError,
    IncompatibleError,
    ReentrantError,
)

_BY_CODE: Dict[int, Type[QuarkError]] = {}

for _code, (_name, _description, _delivered, _retryable) in sorted(_quark.error_kinds().items()):
    _class = _IN_ORDER[_code - 1]
    _class.code, _class.name, _class._delivered, _class._retryable = _code, _name, _delivered, _retryable
    _BY_CODE[_code] = _class


def error_from_code(
    code: int, message: str, delivered: str, retryable: bool, view_version: "int | None" = None
) -> QuarkError:
    """The exception for an error of the core."""
    return _restore(_BY_CODE[code], message, delivered, retryable, view_version)
