"""What the tests share."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any, Callable, Optional, Sequence

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


def run_child(
    code: str,
    timeout: float = 30.0,
    *,
    flags: Sequence[str] = (),
    args: Sequence[str] = (),
    folder: Optional[pathlib.Path] = None,
) -> "subprocess.CompletedProcess[str]":
    """Runs a program of its own; warnings are errors there too.

    With a folder the program is a file in it, as ``multiprocessing`` wants it. One that does not end in time fails the
    test, with what all its threads were doing.
    """
    command = [sys.executable, "-X", "faulthandler", "-W", "error", *flags]
    code = textwrap.dedent(code)
    if folder is None:
        command += ["-c", code]
    else:
        (folder / "program.py").write_text(code, encoding="utf-8")
        command += [str(folder / "program.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, *args], text=True, start_new_session=True, **pipes) as child:
        try:
            out, error = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGABRT)  # And its children, which may be what hangs.
            out, error = child.communicate(timeout=timeout)
            raise AssertionError(f"not within {timeout} s\n{out[-2000:]}\n{error[-4000:]}") from None
    return subprocess.CompletedProcess(command, child.returncode, out, error)


def ends_well(code: str, timeout: float = 30.0, **options: Any) -> str:
    """Runs a program of its own that neither fails nor complains; returns what it printed."""
    ended = run_child(code, timeout, **options)
    well = (ended.returncode, ended.stderr) == (0, "")
    assert well, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
