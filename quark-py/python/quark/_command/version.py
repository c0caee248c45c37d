"""``quark version``"""

import argparse
import platform

from .. import __version__
from .options import Options

HELP = "which Quark this is"
DESCRIPTION = "Prints the version of the package, of the wire protocol and of Python."

#: The one that this package speaks.
PROTOCOL = 1


def add_options(sub: argparse.ArgumentParser) -> None:
    """It has none."""


def text() -> str:
    """All versions in one line."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    return f"quark {__version__}, protocol {PROTOCOL}, {python}, {system}"


def run(options: Options) -> int:
    """Prints them."""
    print(text())
    return 0
