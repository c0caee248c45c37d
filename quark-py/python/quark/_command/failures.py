"""What went wrong, in one line, with what to do about it."""

from typing import Callable, List, Optional, Tuple, Type

from .. import _errors as errors
from . import output
from .options import Options


#: What a Redis says that is there and does not let us in; what helps is in the message.
_REFUSALS = ("NOAUTH", "WRONGPASS", "NOPERM")


def line(error: BaseException, options: Optional[Options]) -> str:
    """What went wrong and, when there is one, a hint."""
    said = output.printable(_what(error))
    hint = _hint(error, options)
    return f"{said} (hint: {output.printable(hint)})" if hint else said


def _what(error: BaseException) -> str:
    if isinstance(error, errors.QuarkError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _hint(error: BaseException, options: Optional[Options]) -> str:
    for kind, hint in _HINTS:
        if options is not None and isinstance(error, kind):
            refused = any(word in str(error) for word in _REFUSALS)
            return "" if refused else hint(options)
    expected = isinstance(error, (errors.QuarkError, OSError))
    return "" if expected else "QUARK_DEBUG=1 shows the traceback"


def _no_silo(options: Options) -> str:
    if (options.membership or "").startswith("memory:"):
        return "memory:// is within one process; silos elsewhere are found by gossip:// or redis://"
    return "no silo serves that type; see `quark ring`, which shows who serves what"


def _store(options: Options) -> str:
    scheme, _, rest = (options.membership or "").partition("://")
    if scheme != "gossip":
        servers = rest.rpartition("@")[2].partition("/")[0]
        return f"is Redis running at {servers}? gossip needs no server: --membership gossip://127.0.0.1:0"
    seeds = [part[len("seed=") :] for part in rest.partition("?")[2].split("&") if part.startswith("seed=")]
    if not seeds:
        return "name a silo that runs by ?seed=HOST:PORT; `quark silo` starts one and prints the URL"
    return f"does a silo of cluster {options.cluster} gossip at {' or '.join(seeds)}?"


def _timeout(options: Options) -> str:
    limit = getattr(options, "timeout", None) or 30
    return f"the handler is slow or its silo stuck; --timeout allows more than {limit:g} s"


#: The first that fits is said.
_HINTS: List[Tuple[Type[BaseException], Callable[[Options], str]]] = [
    (errors.InvalidArgumentError, lambda options: f"quark {options.command} --help"),
    (errors.NoSiloError, _no_silo),
    (errors.NoHandlerError, _no_silo),
    (
        errors.UnreachableError,
        lambda options: "`quark ring` shows its endpoint; is it running, and can it be dialled from here?",
    ),
    (errors.ConnectionLostError, lambda options: "the handler may have run; its silo may have stopped"),
    (errors.QuarkTimeoutError, _timeout),
    (errors.OverloadedError, lambda options: "the silo has all it can hold; try again later"),
    (errors.PayloadTooLargeError, lambda options: "silos and clients take 4 MiB unless max_payload says otherwise"),
    (errors.HandlerFailedError, lambda options: "the actor's handler raised this; the log of its silo has more"),
    (errors.NotOwnerError, lambda options: "the cluster is changing; try again"),
    (errors.MembershipUnavailableError, _store),
    (errors.UnauthenticatedError, lambda options: "check the user and the password in --membership"),
    (errors.IdInUseError, lambda options: "take another: quark silo ID"),
    (errors.AddressInUseError, lambda options: "port 0 lets the system choose"),
    (errors.IsolatedError, lambda options: "the owner is cut off from the others; try again later"),
    (errors.IncompatibleError, lambda options: "does --cluster name the cluster of these silos?"),
]
