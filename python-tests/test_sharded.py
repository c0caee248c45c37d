"""The example of counters that move between silos keeps what it promises."""

import os
import subprocess
import sys

import pytest

from support import ROOT

pytestmark = pytest.mark.one_python

EXAMPLE = ROOT / "examples" / "sharded"
BUILT = ROOT / "target" / "debug"


def test_counters_outlive_silos_that_join_leave_and_are_killed(redis_url, tmp_path):
    program = tmp_path / "counters"
    compile_it = [os.environ.get("CXX", "c++"), "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    compile_it += [f"-I{ROOT / 'include'}", str(EXAMPLE / "counters.cpp"), "-o", str(program)]
    compile_it += [f"-L{BUILT}", "-lquark", "-pthread", f"-Wl,-rpath,{BUILT}"]
    subprocess.run(compile_it, check=True, timeout=120)
    show = [sys.executable, "-W", "error", str(EXAMPLE / "show.py"), redis_url, "--cpp", str(program)]
    show += ["--faults", "6", "--counters", "40", "--seed", "7"]  # Which joins, kills and leaves in both languages.
    shown = subprocess.run(show, timeout=200, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "answered and lost: 0;" in shown.stdout, shown.stdout
    for fault in ("join py-5", "kill py-3", "leave cpp-2", "leave py-1", "join cpp-6", "kill cpp-4"):
        assert fault in shown.stdout, shown.stdout
