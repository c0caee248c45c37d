"""What the tests share."""

import asyncio
import json
import pathlib
import subprocess
import sys
import textwrap
import time
from typing import Any, Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
#: Long enough for a loaded machine; nothing waits so long when all is well.
LIMIT = 20.0


def vectors(name: str) -> Any:
    return json.loads((ROOT / "testdata" / name).read_text(encoding="utf-8"))


async def until(what: str, holds: Callable[[], bool]) -> None:
    """Waits for something with a limit."""
    end = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < end, f"not within {LIMIT} s: {what}"
        await asyncio.sleep(0.002)


def run_child(code: str, timeout: float = 30.0, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Runs a program of its own; warnings are errors there too."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, **options)
