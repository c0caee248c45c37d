"""The sessions that the README shows, typed as it shows them."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import List

from support import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
#: The port that the README uses; tests use one that is free.
PORT = "7946"


def blocks() -> List[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def sessions_of(program: str) -> List[List[str]]:
    """The lines of each block that starts with the program's call."""
    return [block.splitlines() for block in blocks() if block.startswith(f"$ python {program} ")]


def test_two_banks_behave_as_the_readme_shows(tmp_path: Path) -> None:
    (program,) = (block for block in blocks() if block.startswith("import sys\n") and "InsufficientFunds" in block)
    (tmp_path / "bank.py").write_text(program, encoding="utf-8")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running: "List[subprocess.Popen[str]]" = []
    sessions = sessions_of("bank.py")
    assert len(sessions) == 2
    try:
        for called, *shown in sessions:
            words = called.replace(PORT, port).replace('"', "").split()[2:]
            bank = subprocess.Popen(
                [sys.executable, "-W", "error", "-u", *words],
                cwd=tmp_path,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            running.append(bank)
            assert bank.stdin is not None and bank.stdout is not None
            for line in shown:
                if re.match(r"(deposit|withdraw) ", line):
                    bank.stdin.write(line + "\n")
                else:
                    assert bank.stdout.readline().rstrip("\n") == line
        (one, two) = (bank.communicate(timeout=30) for bank in running)
        assert "InsufficientFunds: balance is 3" in one[1], "it has the traceback"
        assert (one[0], two) == ("", ("", ""))
        assert [bank.returncode for bank in running] == [0, 0]
    finally:
        for bank in running:
            bank.kill()
