"""TLS from Python: certificates from ``quark certs``, silos, clients and transports that use them."""

import pathlib
import stat
import subprocess
import sys

import pytest
import quark
import quark.blocking
from support import LIMIT

COMMAND = [sys.executable, "-W", "error", "-m", "quark"]


class Folder:
    """Certificates in a folder of their own."""

    def __init__(self, path: pathlib.Path, cluster: str = "quark") -> None:
        self.path, self.cluster = path, cluster
        self.certs("ca")

    def certs(self, *words: str) -> str:
        ended = self.run(*words)
        assert (ended.returncode, ended.stderr) == (0, ""), ended
        return ended.stdout

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [*COMMAND, "certs", *words, "--dir", str(self.path), "--cluster", self.cluster]
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)

    def silo(self, silo_id: str) -> quark.Tls:
        self.certs("silo", silo_id)
        return self.files(silo_id)

    def files(self, name: str) -> quark.Tls:
        return quark.Tls(self.path / "ca.pem", self.path / f"{name}.pem", self.path / f"{name}.key")


@pytest.fixture
def folder(tmp_path, cluster_name):
    return Folder(tmp_path / "certs", cluster_name)


def answer(request: quark.Request) -> bytes:
    return f"{request.caller}: {request.payload.decode()}".encode()


@pytest.mark.parametrize("transport", ["http2", "http3", "http2+http3"])
async def test_silos_and_clients_prove_who_they_are(folder, cluster_name, transport):
    options = {"membership": f"memory://{cluster_name}", "cluster": cluster_name, "transport": transport}
    folder.certs("client", "dashboard")
    async with quark.Silo("a", handler=answer, tls=folder.silo("a"), **options) as a:
        async with quark.Silo("b", handlers={"B": answer}, tls=folder.silo("b"), **options):
            assert await a.call("B", "1", "say", b"hello") == b"a: hello"
            async with quark.Client(tls=folder.files("dashboard"), **options) as client:
                assert (await client.call("B", "1", "say", b"hello")).startswith(b"client:")


def test_the_blocking_face_takes_the_same(folder, cluster_name):
    options = {"membership": f"memory://{cluster_name}", "cluster": cluster_name}
    with quark.blocking.Silo("a", handler=answer, tls=folder.silo("a"), anonymous_clients=True, **options):
        with quark.blocking.Client(tls=quark.Tls(folder.path / "ca.pem"), **options) as client:
            assert client.call("T", "1", "say", b"hello").endswith(b": hello")


async def test_who_cannot_prove_it_hears_why(folder, tmp_path, cluster_name):
    options = {"membership": f"memory://{cluster_name}", "cluster": cluster_name}
    other = Folder(tmp_path / "other", cluster_name)
    other.certs("client", "stranger")
    async with quark.Silo("a", handler=answer, tls=folder.silo("a"), **options):
        for tls, problem in (
            (None, "the peer speaks TLS, and none is set here"),
            (quark.Tls(folder.path / "ca.pem"), "asks for a certificate"),
            (other.files("stranger"), "from an authority that is not trusted here"),
        ):
            async with quark.Client(tls=tls, **options) as client:
                with pytest.raises(quark.UnauthenticatedError, match=problem) as caught:
                    await client.call("T", "1", "say", timeout=LIMIT)
                assert caught.value.delivered == "no"


async def test_transports_take_the_same(folder, cluster_name):
    options = {"handler": answer, "cluster": cluster_name}
    a = quark.Transport("a", listen="127.0.0.1:0", tls=folder.silo("a"), **options)
    b = quark.Transport("b", tls=folder.silo("b"), **options)
    await a.start()
    await b.start()
    try:
        await b.connect(quark.SiloInfo("a", a.local_endpoint))
        reply = await b.send("a", quark.Envelope(actor_type="T", actor_id="1", method_name="say", payload=b"hello"))
        assert reply.response_payload == b"b: hello"
        with pytest.raises(quark.UnauthenticatedError, match="silo c was dialled"):
            await b.connect(quark.SiloInfo("c", a.local_endpoint))
    finally:
        await b.stop()
        await a.stop()


BAD = [
    (quark.Tls("/nowhere/ca.pem", "c", "k"), quark.InvalidArgumentError, 'tls.authority="/nowhere/ca.pem"'),
    (quark.Tls("a", "b"), quark.InvalidArgumentError, "tls.key"),
    (quark.Tls("a", None, "b"), quark.InvalidArgumentError, "tls.certificate"),
    (quark.Tls("a"), quark.InvalidArgumentError, "tls.certificate"),
    ("ca.pem", TypeError, "tls='ca.pem': must be quark.Tls, not str"),
    (quark.Tls(7, "c", "k"), TypeError, "tls.authority=7: must be a path, not int"),
]


@pytest.mark.parametrize(("tls", "kind", "text"), BAD, ids=lambda value: str(value)[:40])
async def test_what_cannot_be_used_is_named(tls, kind, text):
    with pytest.raises(kind) as caught:
        await quark.Silo("a", membership="memory://bad-tls", tls=tls).start()
    assert text in str(caught.value)


async def test_a_certificate_of_another_silo_is_refused_at_the_start(folder, cluster_name):
    silo = quark.Silo("b", membership=f"memory://{cluster_name}", cluster=cluster_name, tls=folder.silo("a"))
    with pytest.raises(quark.InvalidArgumentError, match="the certificate is of silo a"):
        await silo.start()


@pytest.mark.parametrize("url", ["gossip://0.0.0.0:0", "gossip://[::]:0", "gossip://10.0.0.1:0"])
async def test_gossip_beyond_this_machine_needs_permission(url):
    with pytest.raises(quark.InvalidArgumentError, match="allow_plaintext"):
        await quark.Silo("a", membership=url).start()
    with pytest.raises(quark.InvalidArgumentError, match="allow_plaintext"):
        quark.Membership(url)


async def test_dialling_beyond_this_machine_needs_permission_or_tls():
    async with quark.Client(membership="static://there@192.0.2.1:1") as client:
        with pytest.raises(quark.UnauthenticatedError, match="allow_plaintext"):
            await client.call("T", "1", "say", timeout=LIMIT)


def test_the_command_keeps_secrets_and_says_what_it_did(folder):
    assert "silo a" in folder.certs("silo", "a", "b/c", "--days", "2")
    assert {path.name for path in folder.path.iterdir()} == {
        "ca.pem", "ca.key", "a.pem", "a.key", "b%2Fc.pem", "b%2Fc.key",
    }  # fmt: skip
    for path in folder.path.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert folder.run("ca").returncode == 1
    assert "2 authorities" in folder.certs("rotate")
    assert "1 dropped" in folder.certs("retire")
    for words, problem in ((["king", "a"], "king: must be"), (["silo"], "needs the id"), (["ca", "--days", "x"], "--days=x")):
        ended = folder.run(*words)
        assert ended.returncode == 2 and problem in ended.stderr, ended
    helped = subprocess.run([*COMMAND, "certs", "--help"], capture_output=True, text=True, timeout=LIMIT)
    assert helped.returncode == 0 and "quark certs rotate" in helped.stdout


def test_the_command_line_speaks_tls(folder, cluster_name):
    folder.certs("silo", "a")
    folder.certs("client", "me")

    def tls(name):
        files = folder.files(name)
        return [f"--tls-authority={files.authority}", f"--tls-certificate={files.certificate}", f"--tls-key={files.key}"]

    silo = subprocess.Popen(
        [*COMMAND, "silo", "a", "--membership=gossip://127.0.0.1:0", f"--cluster={cluster_name}", *tls("a")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = ""
        while " call " not in line:
            line = silo.stdout.readline()
            assert line
        url = next(word for word in line.split() if word.startswith(("gossip://", "'gossip://"))).strip("'")
        call = [*COMMAND, "call", "Echo", "ann", "echo", "hello", f"--membership={url}", f"--cluster={cluster_name}"]
        ended = subprocess.run([*call, *tls("me")], capture_output=True, text=True, timeout=LIMIT)
        assert ended.returncode == 0 and "hello" in ended.stdout, ended
        refused = subprocess.run(call, capture_output=True, text=True, timeout=LIMIT)
        assert refused.returncode == 1 and "the peer speaks TLS" in refused.stderr, refused
    finally:
        silo.terminate()
        silo.wait(LIMIT)
        silo.stdout.close()
