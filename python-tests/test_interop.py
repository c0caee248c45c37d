"""Silos in Python, C, C++ and Rust on one Redis: each serves a type of its own and calls all others."""

import asyncio
import itertools
import os
import subprocess
import sys

import pytest
import quark
from support import LIMIT, ROOT

pytestmark = pytest.mark.one_python

FOLDER = ROOT / "python-tests" / "interop"
BUILT = ROOT / "target" / "debug"
LANGUAGES = ("Python", "C", "Cpp", "Rust")
PAIRS = tuple(itertools.product(LANGUAGES, LANGUAGES))


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """How the silo is started in each language."""
    folder = tmp_path_factory.mktemp("interop")
    for compiler, standard, source in (("cc", "c11", "silo.c"), ("c++", "c++17", "silo.cpp")):
        command = [os.environ.get({"cc": "CC", "c++": "CXX"}[compiler], compiler), f"-std={standard}", "-Wall", "-Wextra"]
        command += ["-Werror", f"-I{ROOT / 'include'}", "-o", str(folder / f"{source}.out"), str(FOLDER / source)]
        command += [f"-L{BUILT}", "-lquark", "-pthread", f"-Wl,-rpath,{BUILT}"]
        subprocess.run(command, check=True, timeout=120)
    return {
        "Python": [sys.executable, "-W", "error", str(FOLDER / "silo.py")],
        "C": [str(folder / "silo.c.out")],
        "Cpp": [str(folder / "silo.cpp.out")],
        "Rust": [str(BUILT / "examples" / "interop_silo")],
    }


class Cluster:
    """One silo of each language, and a client that has them call each other."""

    def __init__(self, client):
        self.client = client

    async def ask(self, actor_type, method, payload="", timeout=LIMIT):
        return (await self.client.call(actor_type, "1", method, payload.encode(), timeout=timeout)).decode()

    async def call(self, caller, callee, method, payload="", timeout_ms=20_000):
        """How the silo of one language says that its call to the other's ended."""
        return await self.ask(caller, "call", f"{callee} {method} {timeout_ms} {payload}")

    async def given_up(self, actor_type):
        return int((await self.ask(actor_type, "counts")).split()[1])

    async def until_given_up(self, actor_type, count):
        for _ in range(int(LIMIT / 0.002)):
            if await self.given_up(actor_type) >= count:
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"{actor_type} never heard that its caller gave up")


def certificates(folder, cluster_name):
    """Certificates for all, from the command that people use; what a silo is told of its own, and a client of its."""

    def certs(*words):
        words = [*words, "--dir", str(folder), "--cluster", cluster_name]
        subprocess.run([sys.executable, "-m", "quark", "certs", *words], check=True, timeout=LIMIT, capture_output=True)

    certs("ca")
    certs("silo", *(f"silo-{language}" for language in LANGUAGES))
    certs("client", "tester")

    def files(name):
        return [str(folder / file) for file in ("ca.pem", f"{name}.pem", f"{name}.key")]

    return {language: files(f"silo-{language}") for language in LANGUAGES}, quark.Tls(*files("tester"))


@pytest.fixture
async def cluster(request, redis_url, cluster_name, programs, tmp_path):
    """With TLS over a transport where a test asks for that by a parameter."""
    children = []
    shown, own = dict.fromkeys(LANGUAGES, []), None
    transport = "http2"
    if getattr(request, "param", "plain") != "plain":
        transport = request.param
        shown, own = certificates(tmp_path, cluster_name)
        shown = {language: [*files, transport] for language, files in shown.items()}
    for language in LANGUAGES:
        command = [*programs[language], f"silo-{language}", redis_url, cluster_name, language, *shown[language]]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        children.append(await asyncio.create_subprocess_exec(*command, **pipes))
    try:
        for child in children:
            assert await asyncio.wait_for(child.stdout.readline(), 30) == b"ready\n"
        async with quark.Client(membership=redis_url, cluster=cluster_name, tls=own, transport=transport) as client:
            cluster = Cluster(client)
            for caller, callee in PAIRS:  # All have seen all.
                for _ in range(int(LIMIT / 0.01)):
                    if not (await cluster.call(caller, callee, "echo")).startswith("NO_SILO"):
                        break
                    await asyncio.sleep(0.01)
            yield cluster
        for child in children:
            child.stdin.close()
            assert await asyncio.wait_for(child.wait(), 20) == 0
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()


@pytest.mark.parametrize("cluster", ["plain", "http2", "http3"], indirect=True)
async def test_every_language_calls_every_other(cluster):
    for caller, callee in PAIRS:
        assert await cluster.call(caller, callee, "echo", "grüße") == "OK grüße", (caller, callee)
        large = await cluster.call(caller, callee, "echo", "#100000")
        assert len(large) == 100_003 and large.startswith("OK "), (caller, callee)


async def test_errors_cross_every_pair(cluster):
    for caller, callee in PAIRS:
        failed = await cluster.call(caller, callee, "fail", "as asked")
        assert failed.startswith("HANDLER_FAILED yes ") and failed.endswith("as asked"), (caller, callee, failed)
        large = await cluster.call(caller, callee, "echo", "#5000000")
        assert large.startswith("PAYLOAD_TOO_LARGE no ") and "5000000" in large, (caller, callee, large)
    for caller in LANGUAGES:
        assert (await cluster.call(caller, "Cobol", "echo")).startswith("NO_SILO no "), caller


async def test_deadlines_cross_every_pair(cluster):
    for caller, callee in PAIRS:
        before = await cluster.given_up(callee)
        late = await cluster.call(caller, callee, "wait", timeout_ms=150)
        assert late.startswith("TIMEOUT unknown "), (caller, callee, late)
        await cluster.until_given_up(callee, before + 1)
        # What is asked on behalf of a request has no more time than that.
        left = await cluster.ask(caller, "call", f"{callee} left 60000 ", timeout=10.0)
        assert left.startswith("OK ") and 0 < int(left[3:]) <= 10_000, (caller, callee, left)


async def test_giving_up_crosses_every_pair(cluster):
    for caller, callee in PAIRS:
        before = await cluster.given_up(callee)
        ended = await cluster.ask(caller, "cancel", callee)
        assert ended.startswith("CANCELLED unknown "), (caller, callee, ended)
        await cluster.until_given_up(callee, before + 1)


async def test_requests_pass_through_all_languages_and_back(cluster):
    for route in itertools.permutations(LANGUAGES):
        first, *rest = route
        assert await cluster.ask(first, "relay", " ".join(rest)) == ">".join(route)
        # There and back again: each calls into the one that waits for it.
        there_and_back = [*route, *reversed(route)]
        assert await cluster.ask(first, "relay", " ".join(there_and_back[1:])) == ">".join(there_and_back)
    with pytest.raises(quark.HandlerFailedError, match="Cobol"):
        await cluster.ask("C", "relay", "Python Rust Cpp Cobol")
