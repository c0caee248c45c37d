"""``quark certs``"""

from typing import Sequence

from .. import _quark
from .options import Options, UsageError

HELP = "makes certificates for development"


def parsed(words: Sequence[str]) -> Options:
    """Its words are its own."""
    options = Options()
    options.command, options.run, options.words = "certs", run, list(words)
    return options


def run(options: Options) -> int:
    """Runs it."""
    try:
        print(_quark.certs(options.words), end="")
    except ValueError as error:
        raise UsageError(str(error), "quark certs") from None
    return 0
