"""The console command, run as a child process like a person would, and the share of the ring by another way."""

import contextlib
import json
import os
import pathlib
import pty
import random
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any, Dict, Iterator, List, Optional

import pytest

import quark
from quark._command import call, invite, output
from quark._command.silo import AGAIN
from support import LIMIT, run_child, vectors

COMMAND = [sys.executable, "-W", "error", "-m", "quark"]
#: Nothing of the surroundings decides what is printed.
DECISIVE = ("QUARK_", "PYTHONIO", "PYTHONUNBUFFERED", "COLUMNS")
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(DECISIVE)}
#: A run of the tests beside this one may get a port that a silo of this one had.
CLUSTER = f"command-{secrets.token_hex(6)}"
ENVIRONMENT = {**PLAIN, "PYTHONUTF8": "1", "COLUMNS": "80", "QUARK_CLUSTER": CLUSTER}


def run(*arguments: str, env: Optional[Dict[str, str]] = None, **options: Any) -> "subprocess.CompletedProcess[Any]":
    options = {"text": True, "stdin": None if "input" in options else subprocess.DEVNULL, **options}
    environment = {**ENVIRONMENT, **(env or {})}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=LIMIT, env=environment, **options)


def printed(*arguments: str, **options: Any) -> Any:
    """What a command prints that ends well and complains of nothing."""
    ended = run(*arguments, **options)
    assert (ended.returncode, ended.stderr) == (0, type(ended.stderr)()), ended
    return ended.stdout


class Child:
    """A running command whose lines can be waited for."""

    def __init__(self, *arguments: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([*COMMAND, *arguments], stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)
        self._lines: List[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "".join(self._lines)

    def wait_for(self, pattern: str) -> "re.Match[str]":
        found: List[Any] = [None]

        def seen() -> bool:
            found[0] = re.search(pattern, self.text, re.MULTILINE)
            return found[0] is not None or self._ended

        with self._changed:
            self._changed.wait_for(seen, LIMIT)
        assert found[0], f"{pattern} not in\n{self.text}"
        return found[0]

    def end(self, number: int) -> int:
        """Sends a signal and returns the exit code, when all that was printed has been read."""
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        self._reading.join(LIMIT)
        return code

    def complaints(self) -> str:
        """What it wrote to stderr, when it has ended."""
        return self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reading.join()
        self.process.stdout.close()
        self.process.stderr.close()


@contextlib.contextmanager
def child(*arguments: str) -> Iterator[Child]:
    started = Child(*arguments)
    try:
        yield started
    finally:
        started.close()


class Silo(Child):
    """A `quark silo` that listens."""

    def __init__(self, *arguments: str) -> None:
        super().__init__("silo", *arguments)
        try:
            self.silo_id, self.endpoint = self.wait_for(r"^(.+) listens at (\S+), cluster").groups()
            self.wait_for("^Ctrl-C leaves$")
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Finds it at once, where gossip takes its second."""
        return f"static://{self.silo_id}@{self.endpoint}"

    @property
    def gossip(self) -> str:
        return self.wait_for(r"'(gossip://\S+)'").group(1)


@contextlib.contextmanager
def silo(*arguments: str) -> Iterator[Silo]:
    started = Silo(*arguments)
    try:
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def host() -> Iterator[Silo]:
    """One silo for all tests that only call it."""
    with silo("host") as running:
        yield running


def wrong(*arguments: str, code: int = 1, **options: Any) -> str:
    """The one line of a command that fails."""
    ended = run(*arguments, **options)
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    lines = ended.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("quark: "), ended.stderr
    return lines[0]


# The command itself


def test_importing_quark_loads_nothing_of_the_command():
    ended = run_child("import sys, quark; print([m for m in sys.modules if m == 'argparse' or '_command' in m])")
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_version_says_all_versions_in_one_line():
    line = printed("version")
    python = ".".join(map(str, sys.version_info[:3]))
    assert re.fullmatch(rf"quark {re.escape(quark.__version__)}, protocol 1, \w+ {re.escape(python)}\S*, .+\n", line)
    assert printed("--version") == line


def test_the_protocol_is_the_one_that_silos_speak(host: Silo):
    [info] = json.loads(printed("ring", "--membership", host.gossip, "--json"))["silos"]
    assert f"protocol {info['protocol_version']}," in printed("version")


@pytest.mark.parametrize("command", ["", "silo", "call", "ring", "version"])
def test_each_command_has_help(command: str):
    assert printed(*filter(None, [command]), "--help").startswith(f"usage: quark {command}".strip())


@pytest.mark.parametrize(
    "arguments, says",
    [
        ("", r"a command is missing: silo, call, ring, certs, version \(hint: quark --help\)"),
        ("bogus", r"argument COMMAND: invalid choice: 'bogus'.* \(hint: quark --help\)"),
        ("version --bogus", r"unrecognized arguments: --bogus \(hint: quark version --help\)"),
        ("call T 1", r"the following arguments are required: METHOD \(hint: quark call --help\)"),
        ("call T 1 m", r"--membership URL is missing, and QUARK_MEMBERSHIP is not set \(hint: quark call --help\)"),
        ("ring T/1", r"--membership URL is missing, .* \(hint: quark ring --help\)"),
        ("call T 1 m --timeout 0", r"argument --timeout: '0' must be a positive, .* \(hint: quark call --help\)"),
        ("call T 1 m --timeout -1", r"argument --timeout: '-1' must be a positive.*"),
        ("call T 1 m --timeout nan", r"argument --timeout: 'nan' must be a positive.*"),
        ("call T 1 m --timeout x", r"argument --timeout: 'x' must be a positive.*"),
        ("call T 1 m --repeat 0", r"argument --repeat: '0' must be a number from 1 on.*"),
        ("call T 1 m --membership bogus://x", r'INVALID_ARGUMENT: membership="bogus:.* \(hint: quark call --help\)'),
        ("call T 1 m --membership memory://x --cluster {}", r'INVALID_ARGUMENT: cluster="\{\}": .*'),
        ("silo --listen 0.0.0.0:0", r"INVALID_ARGUMENT: listen=0.0.0.0:0: .*advertise.* \(hint: quark silo --help\)"),
        ("ring --silos a,b T", r"KEY 'T': must be TYPE/ID or TYPE:ID, .*"),
        ("ring --silos a,a", r"silo a is named twice \(hint: quark ring --help\)"),
        ("ring --silos a --joining a", r"silo a is named twice .*"),
        ("ring --silos a --leaving b", r"--leaving b: it is not in .*"),
        ("ring --silos a --weight b=3", r"--weight b: it is not in .*"),
        ("ring --silos a --weight a", r"--weight a: must be ID=VIRTUAL_NODES, as in silo-1=300 .*"),
        ("ring --silos a --weight a=0", r"INVALID_ARGUMENT: virtual_nodes=0: .*"),
        ("ring --silos a --weight a=3 --leaving a", r"silo a is named twice .*"),
        ("ring --silos a=0", r"INVALID_ARGUMENT: virtual_nodes=0: .*"),
        ("ring --silos a --membership memory://x", r"--silos and --silo are for a ring without --membership .*"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: str, says: str):
    line = wrong(*arguments.split(), code=2)
    assert re.fullmatch(f"quark: {says}", line), line


@pytest.mark.parametrize(
    "arguments, says",
    [
        (
            "ring --start-timeout 1 --membership redis://u:canary-secret@127.0.0.1:1/2",
            r"MEMBERSHIP_UNAVAILABLE: redis://u:\*\*\*@127\.0\.0\.1:1/2: .*"
            r" \(hint: is Redis running at 127\.0\.0\.1:1\? gossip needs no server: --membership gossip://127\..*\)",
        ),
        (
            "ring --membership gossip://127.0.0.1:0",
            r"MEMBERSHIP_UNAVAILABLE: .* \(hint: name a silo that runs by \?seed=HOST:PORT; `quark silo` .*\)",
        ),
        (
            "ring --cluster c --start-timeout 0.1 --membership gossip://127.0.0.1:0?seed=127.0.0.1:1",
            r"MEMBERSHIP_UNAVAILABLE: .* \(hint: does a silo of cluster c gossip at 127\.0\.0\.1:1\?\)",
        ),
        (
            "call T 1 m --timeout 0.2 --membership static://a@127.0.0.1:1",
            r"UNREACHABLE: .* \(hint: `quark ring` shows its endpoint; is it running, .*\)",
        ),
        ("call T 1 m --membership memory://x", r"NO_SILO: .* \(hint: memory:// is within one process; .*\)"),
        ("call T 1 m --membership static://", r'NO_SILO: .*"T" \(hint: no silo serves that type; see `quark ring`.*\)'),
        ("call T 1 m @/no/such --membership memory://x", "/no/such: No such file or directory"),
    ],
)
def test_a_failure_is_one_line_with_a_hint_and_exit_code_1(arguments: str, says: str):
    line = wrong(*arguments.split())
    assert re.fullmatch(f"quark: {says}", line), line


def test_a_redis_that_refuses_is_not_asked_whether_it_runs(redis_server: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "right"]
    redis = subprocess.Popen([redis_server, *settings], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + LIMIT
        while True:
            line = wrong("ring", "--membership", f"redis://:canary-wrong@127.0.0.1:{port}", "--start-timeout", "1")
            if "WRONGPASS" in line or time.monotonic() > end:
                break
        assert "WRONGPASS" in line and "hint" not in line
    finally:
        redis.kill()
        redis.wait()


def test_the_traceback_is_shown_on_request_only():
    asked = run("call", "T", "1", "m", "--membership", "memory://x", env={"QUARK_DEBUG": "1"})
    assert asked.returncode == 1 and asked.stderr.startswith("Traceback ")
    assert asked.stderr.splitlines()[-1].startswith("quark: NO_SILO: ")


def test_who_stops_reading_is_not_told_of_it():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        arguments = [*COMMAND, "ring", "--silos", "a,b"]
        pipe = subprocess.PIPE
        ended = subprocess.run(arguments, stdout=writer, stderr=pipe, timeout=LIMIT, env=ENVIRONMENT)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        command = [*COMMAND, "version"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, env=ENVIRONMENT)
    assert (ended.returncode, ended.stderr) == (1, "quark: No space left on device\n")


# Silo and call


def test_the_commands_that_a_silo_prints_work_as_they_are_printed():
    with silo("a") as first:
        lines = re.findall(r"^  (.* -m quark .*)$", first.text, re.MULTILINE)
        calling, looking, joining = lines

        def shell(line: str) -> str:
            ended = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=LIMIT, env=ENVIRONMENT)
            assert (ended.returncode, ended.stderr) == (0, ""), ended
            return ended.stdout

        assert shell(calling) == "hello"
        assert f"1 silo in cluster {CLUSTER}" in shell(looking)
        with silo("b", *shlex.split(joining.partition(" quark silo ")[2])) as second:
            first.wait_for(rf"^[\d:]{{8}} \+ b joined, {second.endpoint}$")
            assert second.end(signal.SIGTERM) == 0
            first.wait_for(r"^[\d:]{8} - b left$")


def test_the_methods_of_a_silos_actors(host: Silo):
    def answer(method: str, payload: str = "") -> str:
        return printed("call", "T", "1", method, payload, "--membership", host.url)

    assert answer("echo", "été") == "été"
    assert answer("anything", "x") == "x"
    assert answer("whoami") == "host"
    began = time.monotonic()
    assert answer("sleep", "0.3") == "0.3"
    assert time.monotonic() - began >= 0.3


def test_payloads_come_from_the_command_line_a_file_or_standard_input_byte_by_byte(host: Silo, tmp_path: Any):
    every = bytes(range(256))
    file = tmp_path / "payload"
    file.write_bytes(every)
    at = ["--membership", host.url]
    assert printed("call", "T", "1", "echo", f"@{file}", *at, text=False) == every
    assert printed("call", "T", "1", "echo", "-", *at, text=False, input=every) == every
    assert printed("call", "T", "1", "echo", *at) == ""
    assert printed("call", "T", "1", "echo", *at, "after the options") == "after the options"
    assert printed("call", *at, "--", "T", "1", "echo", "--dash") == "--dash"
    assert printed("call", "T", "1", "echo", *at, "--", "--help") == "--help"


def on_a_terminal(*arguments: str, columns: int = 80) -> str:
    """What a command prints to a terminal."""
    control, terminal = pty.openpty()
    environment = {**ENVIRONMENT, "COLUMNS": str(columns)}
    running = subprocess.Popen([*COMMAND, *arguments], stdin=terminal, stdout=terminal, env=environment)
    os.close(terminal)
    said = b""
    with contextlib.suppress(OSError):  # That is how the end of a terminal is read.
        while True:
            said += os.read(control, 4096)
    os.close(control)
    assert running.wait(LIMIT) == 0
    return said.decode().replace("\r\n", "\n")


def test_a_terminal_gets_a_line_break_after_a_reply_that_has_none(host: Silo):
    at = ["--membership", host.url]
    assert on_a_terminal("call", "T", "1", "echo", "x", *at) == "x\n"
    assert on_a_terminal("call", "T", "1", "echo", "x\n", *at) == "x\n"
    assert printed("call", "T", "1", "echo", "x", *at) == "x"


def test_repeated_calls_say_how_long_they_took(host: Silo):
    ended = run("call", "T", "repeated", "echo", "x", "--repeat", "20", "--membership", host.url)
    assert (ended.returncode, ended.stdout) == (0, "x")
    assert re.fullmatch(r"20 calls: median \d+ us, p99 \d+ us\n", ended.stderr)
    host.wait_for(r"(T/repeated echo, 1 byte from client:[^\n]*\n[^\n]*){20}")
    assert call.round_trips([n / 1e6 for n in range(1, 201)]) == "200 calls: median 100 us, p99 198 us"
    assert call.round_trips([5e-6]) == "1 call: median 5 us, p99 5 us"


def test_what_goes_wrong_in_a_call_is_one_line(host: Silo):
    at = ["--membership", host.url]
    raised = wrong("call", "T", "1", "fail", "one\ntwo\x1b[31m", *at)
    assert raised.startswith(r"quark: HANDLER_FAILED: Failed: one\ntwo\x1b[31m (hint: the actor's handler raised")
    assert "must be a finite number of seconds" in wrong("call", "T", "1", "sleep", "soon", *at)
    late = wrong("call", "T", "1", "sleep", "60", "--timeout", "0.2", *at)
    assert re.fullmatch(r"quark: TIMEOUT: .* \(hint: .* --timeout allows more than 0.2 s\)", late)
    large = wrong("call", "T", "1", "echo", "-", *at, input="x" * (5 << 20))
    assert re.fullmatch(r"quark: PAYLOAD_TOO_LARGE: .* \(hint: .*max_payload.*\)", large)


def test_what_keeps_a_silo_from_starting_is_one_line(host: Silo):
    twice = wrong("silo", "host", "--membership", host.gossip)
    assert twice == f'quark: ID_IN_USE: silo "host" lives at {host.endpoint} (hint: take another: quark silo ID)'
    taken = wrong("silo", "--listen", host.endpoint)
    assert re.fullmatch(r"quark: ADDRESS_IN_USE: .* \(hint: port 0 lets the system choose\)", taken)


def test_types_that_a_silo_does_not_serve_have_no_silo_and_the_environment_stands_for_options():
    with silo("a", "--type", "Counter", "--cluster", f"{CLUSTER}-2", "--quiet") as serving:
        environment = {"QUARK_MEMBERSHIP": serving.gossip, "QUARK_CLUSTER": f"{CLUSTER}-2"}
        assert printed("call", "Counter", "1", "whoami", env=environment) == "a"
        other = wrong("call", "Other", "1", "whoami", env=environment)
        assert other.startswith('quark: NO_SILO: no silo serves actor type "Other" (hint: no silo serves that type;')
        assert "a joined" not in serving.text and "whoami" not in serving.text, "it is quiet"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_silo_that_is_told_to_leave_answers_what_came_in_and_leaves(number: int):
    with silo("a") as leaving, child("call", "T", "1", "sleep", "1", "--membership", leaving.url) as calling:
        leaving.wait_for("T/1 sleep, 1 byte from client:")
        assert leaving.end(number) == 0
        assert re.search(r"a leaves; Ctrl-C again ends it at once\n[\d:]{8} a has left\n\Z", leaving.text)
        assert calling.process.wait(LIMIT) == 0
        calling.wait_for("^1$")
        assert leaving.complaints() == calling.complaints() == ""


def test_a_silo_that_is_told_twice_at_once_leaves_as_well():
    with silo("a") as leaving, child("call", "T", "1", "sleep", "2", "--membership", leaving.url) as calling:
        leaving.wait_for("T/1 sleep")
        leaving.process.send_signal(signal.SIGTERM)
        leaving.wait_for("a leaves")
        assert leaving.end(signal.SIGTERM) == 0
        leaving.wait_for("a has left")
        assert calling.process.wait(LIMIT) == 0


def test_a_silo_that_is_told_again_later_ends_at_once():
    with silo("a") as leaving, child("call", "T", "1", "sleep", "60", "--membership", leaving.url):
        leaving.wait_for("T/1 sleep")
        leaving.process.send_signal(signal.SIGINT)
        leaving.wait_for("a leaves")
        end = time.monotonic() + LIMIT
        # When a further signal counts is not to be seen from outside.
        while leaving.process.poll() is None and time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                leaving.process.wait(2 * AGAIN)
            leaving.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                leaving.process.wait(2 * AGAIN)
        assert leaving.process.returncode == 130 and "has left" not in leaving.text
        assert leaving.complaints() == "quark: interrupted\n"


def test_a_silo_does_not_wait_for_sleepers_whose_caller_is_gone():
    with silo("a") as leaving, child("call", "T", "1", "sleep", "60", "--membership", leaving.url) as calling:
        leaving.wait_for("T/1 sleep")
        assert calling.end(signal.SIGINT) == 130
        began = time.monotonic()
        assert leaving.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 8, "it drains for 10 seconds"


def test_a_silo_that_waits_for_its_store_can_be_interrupted():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        with child("silo", "a", "--membership", url) as waiting:
            silent.settimeout(LIMIT)
            with silent.accept()[0]:
                assert waiting.end(signal.SIGINT) == 0
                assert waiting.complaints() == ""


def test_ctrl_c_ends_a_call_and_a_look_at_the_ring(host: Silo):
    with child("call", "T", "interrupted", "sleep", "60", "--membership", host.url) as calling:
        host.wait_for("T/interrupted sleep")
        assert calling.end(signal.SIGINT) == 130
        assert calling.complaints() == "quark: interrupted\n"
    with socket.socket(type=socket.SOCK_DGRAM) as seed:
        seed.bind(("127.0.0.1", 0))
        seed.settimeout(LIMIT)
        url = f"gossip://127.0.0.1:0?seed=127.0.0.1:{seed.getsockname()[1]}"
        with child("ring", "--membership", url) as looking:
            seed.recv(65536)  # It looks for the cluster now.
            assert looking.end(signal.SIGINT) == 130
            assert looking.complaints() == "quark: interrupted\n"


def test_the_log_is_silent_unless_it_is_asked_for():
    for options, speaks in ([], False), (["-v"], True):
        with silo("a", *options) as failing:
            wrong("call", "T", "1", "fail", "as asked", "--membership", failing.url)
            assert failing.end(signal.SIGTERM) == 0
            log = failing.complaints()
            assert ("INFO quark.silo started" in log and "Failed: as asked" in log) if speaks else log == ""


def test_what_to_type_next_keeps_passwords_and_knows_who_can_join():
    here = quark.SiloInfo("a", "127.0.0.1:1")
    secret = invite.lines("redis://u:canary-secret@h", "quark", here, [], [])
    assert "secret" not in "".join(secret) and all('"$QUARK_MEMBERSHIP"' in line for line in secret[1:])
    assert "--membership redis://h --cluster c" in invite.lines("redis://h", "c", here, [], [])[0]
    assert invite.lines("memory://x", "quark", here, [], []) == []
    static = invite.lines("static://", "quark", here, ["T"], [])
    assert len(static) == 2 and all("static://a@127.0.0.1:1" in line for line in static)
    joined = invite.lines("static://b@h:2", "quark", here, [], [])
    assert all("static://a@127.0.0.1:1,b@h:2" in line for line in joined)
    listening = ["--listen", "0.0.0.0:0"]
    assert invite.lines("redis://h", "quark", here, ["T"], listening)[-1].endswith("--type T --listen 0.0.0.0:0")


# Ring


def ring_of(**silos: int) -> quark.HashRing:
    ring = quark.HashRing()
    for silo_id, number in silos.items():
        ring.add(silo_id, number)
    return ring


def test_a_ring_without_a_cluster_as_json():
    arguments = ["--silos", "a,b=300", "--silo", "c,1=20", "--silo", "d=e", "--joining", "new=200"]
    keys = [f"T/{i}" for i in range(300)]
    said = json.loads(printed("ring", "--json", *arguments, *keys))
    silos = {"a": 150, "b": 300, "c,1": 20, "d=e": 150}
    assert {silo["id"]: silo["virtual_nodes"] for silo in said["silos"]} == silos
    [ring] = said["rings"]
    assert sum(ring["shares"].values()) == sum(ring["after"].values()) == 1
    before, after = quark.HashRing(), quark.HashRing()
    for silo_id, number in silos.items():
        before.add(silo_id, number)
        after.add(silo_id, number)
    after.add("new", 200)
    names = [f"T:{i}" for i in range(300)]
    assert [key["owner"] for key in said["keys"]] == before.owners(names)
    assert [key["after"] for key in said["keys"]] == after.owners(names)
    assert [key["next_owners"] for key in said["keys"]] == [before.next_owners(name) for name in names]
    assert [key["hash"] for key in said["keys"]] == [quark.hash(name) for name in names]
    assert {key["owner"] == key["after"] for key in said["keys"]} == {True, False}
    assert ring["moved"] == ring["after"]["new"] and {move["to"] for move in ring["moves"]} == {"new"}
    for move in ring["moves"]:
        assert ring["after"][move["from"]] == ring["shares"][move["from"]] - move["share"]


def test_a_ring_for_people():
    said = printed("ring", "--silos", "a,b", "Counter/1", "Counter:2")
    ring = ring_of(a=150, b=150)
    for silo_id, share in ring.shares().items():
        assert re.search(rf"^  {silo_id}  █+[▏▎▍▌▋▊▉]? +{100 * share:.1f}%$", said, re.MULTILINE)
    for actor_id in "12":
        owner = ring.owner(f"Counter:{actor_id}")
        [other] = {"a", "b"} - {owner}
        assert re.search(rf"^  Counter/{actor_id} +{owner} +{other}$", said, re.MULTILINE)
    ascii_only = printed("ring", "--silos", "a", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"})
    assert re.search(r"^  a  #+ 100\.0%$", ascii_only, re.MULTILINE)


def test_what_a_join_would_move_for_people():
    said = printed("ring", "--silos", "a,b", "--joining", "c", *(f"T/{i}" for i in range(9)))
    before, after = ring_of(a=150, b=150), ring_of(a=150, b=150, c=150)
    now, then = before.shares(), after.shares()

    def percent(part: float) -> str:
        return f"{100 * part:.1f}%"

    assert f"if c (150 virtual nodes) joined: {percent(then['c'])} would move\n" in said
    for silo_id in "ab":
        gives = f"gives {percent(now[silo_id] - then[silo_id])}"
        assert f"  {silo_id}     {percent(now[silo_id])}  {percent(then[silo_id])}  {gives}\n" in said
    for i in range(9):
        owner, later = before.owner(f"T:{i}"), after.owner(f"T:{i}")
        [other] = {"a", "b"} - {owner}
        assert f"  T/{i}  {owner}      {other}            {'stays' if owner == later else f'would move to {later}'}\n" in said


def test_a_leave_a_weight_and_a_join_at_once():
    changes = ["--leaving", "a", "--weight", "b=300", "--joining", "d", "--joining", "e=10"]
    said = json.loads(printed("ring", "--silos", "a,b,c", *changes, "T/1", "--json"))
    assert said["leaving"] == ["a"] and said["weights"] == [{"id": "b", "virtual_nodes": 300}]
    assert said["joining"] == [{"id": "d", "virtual_nodes": 150}, {"id": "e", "virtual_nodes": 10}]
    before, after = ring_of(a=150, b=150, c=150), ring_of(b=300, c=150, d=150, e=10)
    [ring] = said["rings"]
    assert ring["shares"] == before.shares() and ring["after"] == after.shares()
    moves = {(move["from"], move["to"]): move["share"] for move in ring["moves"]}
    assert moves == before.moves(after) and ring["moved"] == sum(moves.values())
    assert said["keys"][0]["after"] == after.owner("T:1")
    people = printed("ring", "--silos", "a,b,c", *changes)
    who = "if d (150 virtual nodes), e (10 virtual nodes) joined, a left and b had 300 virtual nodes: "
    assert f"{who}{100 * ring['moved']:.1f}% would move\n" in people
    gets = sum(part for (_, taker), part in moves.items() if taker == "b")
    gives = sum(part for (giver, _), part in moves.items() if giver == "b")
    assert f"gives {100 * gives:.1f}%, gets {100 * gets:.1f}%\n" in people
    everybody_leaves = printed("ring", "--silos", "a", "--leaving", "a", "T/1")
    assert "if a left: 100.0% would move" in everybody_leaves and "would move to nobody" in everybody_leaves


def test_a_ring_fits_into_the_terminal():
    silos = ["a", "silo-with-a-long-name-" * 3, "東京"]
    arguments = ["ring", "--silos", ",".join(silos), "--joining", "d", "T/" + "key" * 30]
    for columns in (50, 90, 250):
        widths = [output.width(line) for line in on_a_terminal(*arguments, columns=columns).splitlines()]
        assert max(widths) <= columns
    assert silos[1] in printed(*arguments, env={"COLUMNS": "50"}), "a pipe gets all of it"


def test_the_ring_of_a_cluster_is_that_of_its_silos(host: Silo):
    options = ["--type", "Counter", "--zone", "east", "--virtual-nodes", "300", "--membership", host.gossip]
    with silo("weighty", *options) as weighty:
        host.wait_for(r"\+ weighty joined")
        keys = [f"{kind}/{i}" for kind in ("Counter", "Other") for i in range(40)]
        said = json.loads(printed("ring", "--membership", host.gossip, "--json", *keys))
        with quark.blocking.Client(membership=host.gossip, cluster=CLUSTER) as client:
            assert {key["owner"] for key in said["keys"]} == {"host", "weighty"}
            assert all(key["owner"] == client.owner(key["type"], key["id"]) for key in said["keys"])
            for silo_said, info in zip(said["silos"], client.silos()):
                assert (silo_said["id"], silo_said["endpoint"]) == (info.silo_id, info.endpoint)
                assert (silo_said["incarnation"], silo_said["labels"]) == (info.incarnation, info.labels)
        of_counter, of_others = said["rings"]
        assert of_counter["types"] == ["Counter"] and set(of_counter["shares"]) == {"host", "weighty"}
        assert of_others["types"] is None and of_others["shares"] == {"host": 1.0}
        people = printed("ring", "--membership", host.gossip)
        row = rf"^  weighty  {weighty.endpoint}  active +\d+  east  300 +Counter$"
        assert re.search(row, people, re.MULTILINE), people
        assert "ring of Counter\n" in people and "ring of all other types\n" in people
        one = printed("ring", "--membership", host.gossip, "--type", "Other")
        assert "ring of Other\n  host  " in one and "ring of Counter" not in one
        refused = wrong("ring", "--membership", host.gossip, "--joining", "weighty", code=2)
        assert refused.startswith("quark: --joining weighty: it is in already")
        assert weighty.end(signal.SIGTERM) == 0
        host.wait_for("- weighty left")


def test_a_draining_silo_is_said_to_drain_and_has_the_share_that_it_kept(host: Silo, tmp_path: pathlib.Path):
    with silo("other", "--membership", host.gossip) as other, quark.blocking.Silo(
        "tired", membership=host.gossip, cluster=CLUSTER, handler=lambda request: b""
    ) as tired:
        host.wait_for(r"\+ other joined")
        host.wait_for(r"\+ tired joined")
        at_first = json.loads(printed("ring", "--membership", host.gossip, "--json"))["rings"][0]["shares"]
        tired.drain()
        assert other.end(signal.SIGTERM) == 0
        host.wait_for("- other left")
        end = time.monotonic() + LIMIT
        while len(tired.silos()) > 2:
            assert time.monotonic() < end, "not in time: it sees the other leave"
            time.sleep(0.01)
        keys = [f"T/{i}" for i in range(60)]
        said = json.loads(printed("ring", "--membership", host.gossip, "--json", "--joining", "new", *keys))
        assert {silo_said["id"]: silo_said["draining"] for silo_said in said["silos"]} == {"host": False, "tired": True}
        assert said["rings"][0]["shares"]["tired"] == at_first["tired"]
        assert all(key["owner"] == tired.owner("T", key["id"]) for key in said["keys"])
        assert said["rings"][0]["after"]["tired"] < at_first["tired"]
        assert [key["next_owners"] for key in said["keys"]] == [tired.next_owners("T", key["id"]) for key in said["keys"]]
        heavier = json.loads(printed("ring", "--membership", host.gossip, "--json", "--weight", "tired=600"))["rings"][0]
        assert heavier["moves"] == [], "it goes on to drain, and gets nothing by it"
        picture = tmp_path / "ring.svg"
        people = printed("ring", "--membership", host.gossip, "--svg", str(picture))
        assert re.search(rf"^  tired +{tired.endpoint} +draining ", people, re.MULTILINE), people
        assert "tired (drains)" in picture.read_text() and "host (drains)" not in picture.read_text()
        tired.stop()
        host.wait_for("- tired left")


def test_an_empty_cluster_has_a_ring_that_one_can_join():
    said = printed("ring", "--membership", "memory://empty", "T/1")
    assert f"0 silos in cluster {CLUSTER}" in said and "ring of all types: no silo" in said
    assert re.search(r"^  T/1 +nobody +-$", said, re.MULTILINE)
    joined = json.loads(printed("ring", "--membership", "memory://empty", "T/1", "--joining", "a", "--json"))
    assert joined["rings"][0]["moves"] == [{"from": None, "to": "a", "share": 1.0}]
    assert joined["keys"][0]["after"] == "a"
