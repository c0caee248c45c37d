"""The console command ``quark``. ``import quark`` does not load it."""

from typing import Optional, Sequence

__all__ = ["main"]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Runs the command with these arguments (those of the process when None) and returns its exit code."""
    from . import run

    return run.run(argv)
