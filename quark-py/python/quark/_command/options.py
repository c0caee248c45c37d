"""The command line: what all commands have, and how a wrong one is refused."""

import argparse
import logging
import math
import os
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence

from .._types import Tls
from . import output


class UsageError(Exception):
    """The command line cannot be used."""

    def __init__(self, message: str, program: str) -> None:
        super().__init__(message)
        self.program = program


class Options(argparse.Namespace):
    """What was asked for. Only what the chosen command knows is there."""

    command: str
    run: Callable[["Options"], int]
    membership: Optional[str]
    cluster: str
    start_timeout: Optional[float]
    verbose: int

    silo_id: Optional[str]
    listen: str
    advertise: Optional[str]
    types: List[str]
    zone: Optional[str]
    virtual_nodes: int
    allow_plaintext: bool
    quiet: bool

    actor_type: str
    actor_id: str
    method: str
    payload: Optional[str]
    timeout: Optional[float]
    repeat: Optional[int]

    only_type: Optional[str]
    silos: List[List[str]]
    joining: List[str]
    leaving: List[str]
    weights: List[str]
    svg: Optional[str]
    keys: List[str]
    json: bool

    words: List[str]
    tls_authority: Optional[str]
    tls_certificate: Optional[str]
    tls_key: Optional[str]

    def url(self) -> str:
        """The membership URL that a command needs."""
        if not self.membership:
            raise self.refused("--membership URL is missing, and QUARK_MEMBERSHIP is not set")
        return self.membership

    def tls(self) -> Optional[Tls]:
        """The certificates, if there are any."""
        if self.tls_authority is None:
            if self.tls_certificate is not None or self.tls_key is not None:
                raise self.refused("--tls-authority FILE is missing")
            return None
        return Tls(self.tls_authority, self.tls_certificate, self.tls_key)

    def refused(self, message: str) -> UsageError:
        """An error for arguments that do not fit."""
        return UsageError(message, f"quark {self.command}")


class Parser(argparse.ArgumentParser):
    """Raises where argparse prints and exits."""

    def __init__(self, program: str, description: str, epilog: Optional[str] = None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(program, None, description, epilog, formatter_class=layout, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(output.printable(message.replace(_MARK, "")), self.prog)


EPILOG = """\
QUARK_MEMBERSHIP and QUARK_CLUSTER stand for --membership and --cluster where these are left out, and so do
QUARK_TLS_AUTHORITY, QUARK_TLS_CERTIFICATE and QUARK_TLS_KEY for --tls-authority, --tls-certificate and --tls-key.
QUARK_DEBUG=1 shows the traceback of an error.
Exit codes: 0 well, 1 failed, 2 wrong usage, 130 interrupted."""


def parse(argv: Sequence[str]) -> Options:
    """What the command line asks for."""
    from . import call, certs, ring, silo, version

    commands: Dict[str, Any] = {"silo": silo, "call": call, "ring": ring, "certs": certs, "version": version}
    if not argv:
        raise UsageError("a command is missing: " + ", ".join(commands), "quark")
    name = argv[0]
    if name == "certs":
        return certs.parsed(argv[1:])
    if name in commands:
        command = commands[name]
        parser = Parser(f"quark {name}", command.DESCRIPTION)
        command.add_options(parser)
        parser.set_defaults(command=name, run=command.run)
        return _unmarked(parser.parse_intermixed_args(_marked(argv[1:]), Options()))
    about = "".join(f"\n  quark {name:8} {command.HELP}" for name, command in commands.items())
    parser = Parser("quark", f"Runs silos, calls actors and shows who is in a cluster of Quark.\n{about}", EPILOG)
    parser.add_argument("--version", action="version", version=version.text(), help="the same as quark version")
    parser.add_argument("command", metavar="COMMAND", choices=list(commands), help="quark COMMAND --help says more")
    return parser.parse_args(argv, Options())


#: Before a word that is no option whatever it looks like. No argument of a process can have it.
_MARK = "\0"


def _marked(words: Sequence[str]) -> List[str]:
    """The words, with those after -- marked: argparse forgets which these are where options stand between others."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], *(_MARK + word for word in words[at + 1 :])]


def _unmarked(options: Options) -> Options:
    for name, value in vars(options).items():
        if isinstance(value, str):
            setattr(options, name, value.lstrip(_MARK))
        elif isinstance(value, list):
            setattr(options, name, [v.lstrip(_MARK) if isinstance(v, str) else v for v in value])
    return options


def add_cluster(sub: argparse.ArgumentParser, default: Optional[str] = None) -> None:
    """The options of everything that looks for a cluster."""
    sub.add_argument(
        "--membership",
        metavar="URL",
        default=os.environ.get("QUARK_MEMBERSHIP") or default,
        help="redis://HOST, gossip://BIND-HOST:PORT?seed=HOST:PORT or static://ID@HOST:PORT,..."
        + (f" (default: {default})" if default else ""),
    )
    sub.add_argument(
        "--cluster",
        metavar="NAME",
        default=os.environ.get("QUARK_CLUSTER") or "quark",
        help="the cluster's name (default: quark)",
    )
    sub.add_argument(
        "--start-timeout", metavar="S", type=seconds, help="how long to look for the cluster (default: 10)"
    )
    for name, text in (
        ("authority", "PEM file with the authorities whose certificates are trusted; turns TLS on"),
        ("certificate", "PEM file with the own certificate"),
        ("key", "PEM file with its private key"),
    ):
        default_file = os.environ.get(f"QUARK_TLS_{name.upper()}") or None
        sub.add_argument(f"--tls-{name}", metavar="FILE", default=default_file, help=text)
    sub.add_argument(
        "-v", "--verbose", action="count", default=0, help="show the log on stderr; twice shows more"
    )


def seconds(text: str) -> float:
    """A time that can be waited for."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a positive, finite number of seconds")
    return number


def count(text: str) -> int:
    """How many times."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1 on")
    return number


def direct_log(options: Options) -> None:
    """Sends the log to stderr when it is asked for, and nowhere otherwise."""
    verbose = getattr(options, "verbose", 0)
    log = logging.getLogger("quark")
    log.propagate = False
    if verbose:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        log.setLevel(logging.INFO if verbose == 1 else logging.DEBUG)
    else:
        handler = logging.NullHandler()
        log.setLevel(logging.CRITICAL + 1)
    log.handlers[:] = [handler]
