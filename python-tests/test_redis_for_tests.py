"""The Redis that the other tests lean on."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

import redis_for_tests

SCRIPT = Path(redis_for_tests.__file__)


def wrapped(*command: str, **variables: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if name != "QUARK_TEST_REDIS"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), "--", *command],
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_gone(url: str, within: float = 10.0) -> bool:
    address = (urlsplit(url).hostname, urlsplit(url).port)
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_the_redis_of_the_session_answers(redis_url: str, cluster_name: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.set(f"{cluster_name}:x", "y", px=1000)
        assert connection.get(f"{cluster_name}:x") == b"y"


def test_there_is_a_server_binary_for_tests_that_need_their_own(redis_server: str) -> None:
    shown = subprocess.run([redis_server, "--version"], stdout=subprocess.PIPE, text=True, check=True)
    assert "v=" in shown.stdout


def test_a_command_finds_the_redis_and_its_status_is_kept() -> None:
    check = "import os, sys; print(os.environ['QUARK_TEST_REDIS'], os.environ['QUARK_TEST_REDIS_SERVER']); sys.exit(7)"
    with wrapped(sys.executable, "-c", check, QUARK_TEST_REDIS_KIND="process") as process:
        said, _ = process.communicate(timeout=50)
    kind, variables = said.splitlines()
    assert process.returncode == 7
    assert re.fullmatch(r"redis: .*redis-server \d+\.\d+\.\d+ \(forced by QUARK_TEST_REDIS_KIND\)", kind)
    assert is_gone(variables.split()[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_command_and_the_redis_goes_too(number: signal.Signals) -> None:
    # In short naps, because a signal that comes right before a sleep is looked at after it (CPython 3.14).
    wait = "import os, time; print(os.environ['QUARK_TEST_REDIS'], flush=True)\nfor _ in range(600): time.sleep(0.1)"
    with wrapped(sys.executable, "-c", wait, QUARK_TEST_REDIS_KIND="process") as process:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().strip()
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode != 0
    assert is_gone(url)


def test_a_given_redis_is_used(redis_url: str) -> None:
    show = "import os; print(os.environ['QUARK_TEST_REDIS'])"
    with wrapped(sys.executable, "-c", show, QUARK_TEST_REDIS=redis_url) as process:
        said, _ = process.communicate(timeout=20)
    assert said.splitlines() == [f"redis: {redis_url} (given by QUARK_TEST_REDIS)", redis_url]


def test_a_wrong_kind_is_refused_by_name() -> None:
    with wrapped("true", QUARK_TEST_REDIS_KIND="cloud") as process:
        _, complaint = process.communicate(timeout=20)
    assert process.returncode == 1
    assert complaint == "redis: none: QUARK_TEST_REDIS_KIND is 'cloud'; it may be 'container' or 'process'\n"
