"""What goes in and comes out: any buffer, bytes, and views without a copy."""

import array
import gc
import mmap
import weakref
from typing import Any, List

import pytest

import quark
from quark import blocking
from support import run_child

LARGE = 256 * 1024


@pytest.fixture
def silo(cluster_name: str) -> Any:
    def handler(request: quark.Request) -> Any:
        if request.method_name == "view":
            return request.view()
        return request.payload

    with blocking.Silo("a", membership=f"memory://{cluster_name}", handler=handler) as silo:
        yield silo


@pytest.fixture(params=["own", "other"])
def caller(request: Any, silo: blocking.Silo, cluster_name: str) -> Any:
    if request.param == "own":
        yield silo
    else:
        with blocking.Client(membership=f"memory://{cluster_name}") as client:
            yield client


@pytest.mark.parametrize("size", [0, 1, 100, LARGE])
@pytest.mark.parametrize("method", ["payload", "view"])
def test_any_buffer_goes_in_and_its_bytes_come_out(caller: Any, size: int, method: str) -> None:
    content = bytes(i % 251 for i in range(size))
    buffers: List[Any] = [content, bytearray(content), memoryview(content), memoryview(bytearray(content))]
    buffers += [memoryview(bytearray(content)).toreadonly(), array.array("B", content)]
    if size:
        mapped = mmap.mmap(-1, size)
        mapped.write(content)
        buffers.append(mapped)
    for buffer in buffers:
        assert caller.call("T", "1", method, buffer) == content
        view = caller.call("T", "1", method, buffer, view=True)
        assert isinstance(view, memoryview) and view.readonly and view == content


def test_items_of_other_sizes_and_gaps_go_in_as_bytes(caller: Any) -> None:
    numbers = array.array("I", range(LARGE))
    assert caller.call("T", "1", "payload", numbers) == numbers.tobytes()
    gaps = memoryview(bytes(range(256)) * 400)[::3]
    assert caller.call("T", "1", "payload", gaps) == gaps.tobytes()


def test_a_buffer_that_can_change_is_copied_before_the_call_returns_control(cluster_name: str) -> None:
    with blocking.Silo("a", membership=f"memory://{cluster_name}", handler=lambda request: request.payload) as silo:
        content = bytearray(b"x" * LARGE)
        silo.notify("T", "1", "", content)
        content.extend(b"more")  # A buffer that is held could not be resized.


@pytest.mark.parametrize("payload", ["text", 5, None, object(), [1, 2]])
def test_what_is_no_buffer_is_named(caller: Any, payload: Any) -> None:
    with pytest.raises(TypeError, match=r"payload=.*: must be bytes-like, not "):
        caller.call("T", "1", "payload", payload)


def test_a_view_outlives_its_call_its_request_and_its_silo(cluster_name: str) -> None:
    kept: List[memoryview] = []

    def keep(request: quark.Request) -> bytes:
        kept.append(request.view()[1:])
        return request.view()

    content = bytes(range(256)) * 1024
    with blocking.Silo("a", membership=f"memory://{cluster_name}", handler=keep) as silo:
        with blocking.Client(membership=f"memory://{cluster_name}") as client:
            reply = client.call("T", "1", "", content, view=True)
            part = reply[10:20]
            reply.release()
            with pytest.raises(ValueError):
                reply.tobytes()
    del silo, client
    gc.collect()
    assert part == content[10:20] and kept[0] == content[1:]
    with pytest.raises(TypeError):
        part[0] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        type(part.obj)()


def test_the_sender_of_a_large_payload_is_let_go_when_the_call_has_ended(silo: blocking.Silo) -> None:
    class Buffer(bytearray):
        pass

    buffer = Buffer(b"x" * LARGE)
    gone = weakref.ref(buffer)
    view = memoryview(buffer).toreadonly()
    assert len(silo.call("T", "1", "payload", view)) == LARGE
    del view, buffer
    # References that the runtime's thread gives back wait for the next crossing.
    for _ in range(100):
        silo.call("T", "1", "payload", b"")
        gc.collect()
        if gone() is None:
            break
    assert gone() is None


def test_large_replies_do_not_pile_up() -> None:
    ended = run_child(
        """
        import resource
        from quark import blocking
        size = 8 * 1024 * 1024
        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        with blocking.Silo("a", membership="memory://pile", handler=lambda r: r.view(), max_payload=size) as silo:
            with blocking.Client(membership="memory://pile", max_payload=size) as client:
                payload = bytes(size)
                for i in range(60):
                    for caller in (client, silo):
                        caller.call("T", "1", "", payload, view=True)
                    if i == 20:
                        before = peak()
                grown = peak() - before
        assert grown < 4 * size, grown
        """,
        timeout=60.0,
    )
    assert ended.returncode == 0, ended.stderr
