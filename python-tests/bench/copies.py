"""Which copies of a large payload remain on its way from one Python process to another and back.

For each kind of payload and of reply: the most memory that the calling and the serving process took beyond what they had
before, and the time of a round trip beside that of copying as many bytes once; all as multiples of the payload. Each row
is measured in processes of its own. Run by `cargo xtask bench --copies`.
"""

import array
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

import quark
from quark import blocking

SIZE = 32 * 1024 * 1024
LIMIT = SIZE + 1024
ROUNDS = 5

PAYLOADS: Dict[str, Callable[[], Any]] = {
    "bytes": lambda: bytes(SIZE),
    "read-only memoryview": lambda: memoryview(bytearray(SIZE)).toreadonly(),
    "bytearray": lambda: bytearray(SIZE),
    "array": lambda: array.array("d", bytes(SIZE)),
}
#: What the handler does with it, and whether the caller asks for a view.
REPLIES = {
    "payload and reply as bytes": (lambda request: request.payload, False),
    "payload and reply as views": (lambda request: request.view(), True),
}


def memory(key: str, pid: object = "self") -> int:
    """A figure of a process, in bytes: VmRSS is what it has, VmHWM the most that it had."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key + ":"))


def forget_the_peak(pid: object = "self") -> None:
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")


def serve(reply: str) -> None:
    handler = REPLIES[reply][0]
    with blocking.Silo("server", membership="static://", handler=handler, max_payload=LIMIT) as silo:
        print(silo.endpoint, flush=True)
        sys.stdin.read()


def copy_once() -> float:
    """Seconds for one copy of the payload into memory that is there."""
    source, target = ctypes.create_string_buffer(SIZE), ctypes.create_string_buffer(SIZE)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        ctypes.memmove(target, source, SIZE)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def call(payload: str, reply: str) -> Dict[str, float]:
    server = subprocess.Popen(
        [sys.executable, __file__, "serve", reply], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None and server.stdout is not None
    endpoint = server.stdout.readline().strip()
    content = PAYLOADS[payload]()
    times: List[float] = []
    peaks: List[int] = []
    with blocking.Client(membership=f"static://server@{endpoint}", max_payload=LIMIT) as client:
        client.call("T", "1", "", b"")
        before = [memory("VmRSS"), memory("VmRSS", server.pid)]
        for _ in range(ROUNDS):
            for pid in ("self", server.pid):
                forget_the_peak(pid)
            began = time.perf_counter()
            ended = client.call("T", "1", "", content, view=REPLIES[reply][1])
            times.append(time.perf_counter() - began)
            assert len(ended) == SIZE
            peaks.append(memory("VmHWM") - before[0])
            peaks.append(memory("VmHWM", server.pid) - before[1])
            del ended
            client.call("T", "1", "", b"")  # The server has let go of what it had when it answers this.
    server.stdin.close()
    server.wait()
    return {
        "caller": statistics.median(peaks[::2]) / SIZE,
        "server": statistics.median(peaks[1::2]) / SIZE,
        "time": statistics.median(times) / copy_once(),
    }


def main() -> None:
    print(f"Quark {quark.__version__}, {SIZE >> 20} MiB there and back, medians of {ROUNDS}\n")
    print("| payload | | caller's peak, payloads | server's peak, payloads | time, copies of the payload |")
    print("|---|---|---|---|---|")
    for reply in REPLIES:
        for payload in PAYLOADS:
            command = [sys.executable, __file__, "call", payload, reply]
            figures = json.loads(subprocess.run(command, check=True, capture_output=True, env=os.environ).stdout)
            row = (f"{figures[name]:.1f}" for name in ("caller", "server", "time"))
            print(f"| {payload} | {reply} | {' | '.join(row)} |", flush=True)


if len(sys.argv) == 1:
    main()
elif sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    print(json.dumps(call(sys.argv[2], sys.argv[3])))
