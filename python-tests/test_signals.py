"""Ctrl-C while a blocking verb waits. Each test is a process of its own with a limit."""

import pytest

from support import ends_well

COMMON = """
import os, signal, socket, threading, time, quark
from quark import blocking

def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)

def interrupted(verb, *args, **options):
    try:
        verb(*args, **options)
    except KeyboardInterrupt:
        return True
    return False

def soon():
    # From outside there is nothing to be seen of a verb that waits.
    timer = threading.Timer(0.3, ctrl_c)
    timer.start()
    return timer

def until(holds):
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)

release, requests = threading.Event(), []

def stuck(request):
    requests.append(request)
    ctrl_c()
    release.wait(60)

def silent(request):
    requests.append(request)
    release.wait(60)

handlers = {"Stuck": stuck, "Silent": silent, "Echo": lambda request: request.payload}
silo = blocking.Silo("a", membership="memory://signals", handlers=handlers)
client = blocking.Client(membership="memory://signals")
"""


@pytest.mark.parametrize("node", ["silo", "client"])
@pytest.mark.parametrize("verb", ["call", "send"])
def test_ctrl_c_interrupts_a_call_and_gives_it_up(node: str, verb: str):
    ask = {"call": '"Stuck", "1", ""', "send": 'quark.Envelope(actor_type="Stuck", actor_id="1")'}[verb]
    ends_well(
        COMMON
        + f"""
silo.start()
client.start()
assert interrupted({node}.{verb}, {ask}, timeout=50)
until(lambda: requests[0].is_abandoned)
for caller in (silo, client):
    assert caller.call("Echo", "1", "", b"x", timeout=20) == b"x"
release.set()
client.stop()
silo.stop()
"""
    )


@pytest.mark.parametrize(
    "what",
    [
        'blocking.Silo("b", membership="redis://127.0.0.1:1", handler=print, start_timeout=50)',
        'blocking.Client(membership="redis://127.0.0.1:1", start_timeout=50)',
        'blocking.Client(membership="gossip://127.0.0.1:0?seed=127.0.0.1:9", start_timeout=50)',
    ],
)
def test_ctrl_c_interrupts_a_start(what: str):
    ends_well(
        COMMON
        + f"""
node = {what}
soon()
assert interrupted(node.start)
assert not node.is_running
node.stop()
with silo:
    assert silo.call("Echo", "1", "", b"x", timeout=20) == b"x"
"""
    )


def test_a_start_that_was_interrupted_does_not_happen_later():
    ends_well(
        COMMON
        + """
# A store that is reached after the interrupt: its first connections are not answered.
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
node = blocking.Silo("b", membership=f"redis://127.0.0.1:{port}", handler=print, start_timeout=50)
soon()
assert interrupted(node.start)
node.stop()
listener.settimeout(0.2)
held = []
end = time.monotonic() + 10
while time.monotonic() < end:
    try:
        held.append(listener.accept()[0])  # What waited in the queue; whoever still starts tries again.
    except socket.timeout:
        break
for connection in held:
    connection.close()
listener.settimeout(3)
try:
    listener.accept()[0].close()
except socket.timeout:
    again = False
else:
    again = True
listener.close()
assert not again, "it still tries to start"
"""
    )


def test_ctrl_c_interrupts_a_stop_and_the_next_one_does_not_wait():
    ends_well(
        COMMON
        + """
silo.start()
silo.notify("Silent", "1", "")
until(lambda: requests)
soon()
assert interrupted(silo.stop, drain=50)
silo.stop(drain=0.1)
assert not silo.is_running
try:
    silo.call("Echo", "1", "")
except quark.NotRunningError:
    pass
else:
    raise AssertionError
"""
    )


@pytest.mark.parametrize("verb", ["call", "start", "stop"])
def test_a_signal_handler_that_returns_interrupts_nothing(verb: str):
    ends_well(
        COMMON
        + f"""
seen = []
signal.signal(signal.SIGINT, lambda *_: (seen.append(1), release.set()))
silo.start()
if "{verb}" == "call":
    assert silo.call("Stuck", "1", "", timeout=20) == b""
elif "{verb}" == "stop":
    silo.notify("Stuck", "1", "")
    until(lambda: requests)
silo.stop(drain=20)
if "{verb}" == "start":
    soon()
    node = blocking.Client(membership="gossip://127.0.0.1:0?seed=127.0.0.1:9", start_timeout=1)
    try:
        node.start()
    except quark.QuarkError:
        pass
assert seen == [1]
"""
    )
