"""``quark silo``"""

import argparse
import asyncio
import os
import signal
import socket
import time
from typing import Dict, List, Optional

from .._quark import Request
from .._aio import Silo
from . import echo, invite, output
from .options import Options, add_cluster, count

HELP = "run a silo whose actors echo"
DESCRIPTION = f"""\
Runs a silo until Ctrl-C or SIGTERM, then leaves; a second one, after a second, ends it at once. Its actors know these methods:

{echo.METHODS}"""

LISTEN = "127.0.0.1:0"

#: Seconds in which a second signal is the same one: `timeout` and others send it to the process and to its group.
AGAIN = 1.0


def add_options(sub: argparse.ArgumentParser) -> None:
    """Who it is and where it listens."""
    sub.add_argument("silo_id", metavar="ID", nargs="?", help="its id (default: silo-HOST-PID)")
    add_cluster(sub, default="gossip://127.0.0.1:0")
    sub.add_argument("--listen", metavar="HOST:PORT", default=LISTEN, help=f"(default: {LISTEN})")
    sub.add_argument("--advertise", metavar="HOST:PORT", help="where others dial it, if not where it listens")
    sub.add_argument(
        "--allow-plaintext", action="store_true", help="listen and gossip beyond this machine without TLS"
    )
    sub.add_argument(
        "--type",
        metavar="TYPE",
        dest="types",
        action="append",
        default=[],
        help="serve this actor type only; may be repeated",
    )
    sub.add_argument(
        "--virtual-nodes", metavar="N", type=count, default=150, help="its points on the ring (default: 150)"
    )
    sub.add_argument("--zone", metavar="NAME", help="where it runs, for those who look")
    sub.add_argument("--quiet", action="store_true", help="do not print who comes and goes and what is asked")


def run(options: Options) -> int:
    """Runs it."""
    return asyncio.run(_Host(options).run())


class _Host:
    """A silo and what it prints."""

    def __init__(self, options: Options) -> None:
        self._options = options
        silo_id = options.silo_id or f"silo-{socket.gethostname()}-{os.getpid()}"
        self._silo = Silo(
            silo_id,
            membership=options.url(),
            cluster=options.cluster,
            listen=options.listen,
            advertise=options.advertise,
            tls=options.tls(),
            allow_plaintext=options.allow_plaintext,
            virtual_nodes=options.virtual_nodes,
            zone=options.zone,
            start_timeout=options.start_timeout,
            handler=None if options.types else self._answer,
            handlers={actor_type: self._answer for actor_type in options.types} or None,
        )
        self._lost: Optional[OSError] = None

    async def run(self) -> int:
        self._leave = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        starting = asyncio.ensure_future(self._silo.start())
        leaving = asyncio.ensure_future(self._leave.wait())
        # A store that does not answer is waited for; a signal ends that too.
        await asyncio.wait([starting, leaving], return_when=asyncio.FIRST_COMPLETED)
        try:
            if starting.done():
                starting.result()
                self._greet()
                watching = asyncio.ensure_future(self._watch())
                await leaving
                watching.cancel()
                self._say(f"{self._silo.silo_id} leaves; Ctrl-C again ends it at once", always=True)
        finally:
            starting.cancel()
            leaving.cancel()
            await self._silo.stop()
        if self._lost is not None:
            raise self._lost
        self._say(f"{self._silo.silo_id} has left", always=True)
        return 0

    def _signalled(self) -> None:
        self._leave.set()
        asyncio.get_running_loop().call_later(AGAIN, self._be_interruptible)

    def _be_interruptible(self) -> None:
        """Whoever asks again does not want to wait."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _greet(self) -> None:
        silo, options = self._silo, self._options
        own = next((info for info in silo.silos() if info.silo_id == silo.silo_id), None)
        listening: List[str] = []
        if options.listen != LISTEN:
            listening += ["--listen", _any_port(options.listen)]
        if options.advertise:
            listening += ["--advertise", _any_port(options.advertise)]
        if options.allow_plaintext:
            listening.append("--allow-plaintext")
        said = [f"{silo.silo_id} listens at {silo.endpoint}, cluster {options.cluster}", ""]
        others = invite.lines(options.url(), options.cluster, own, options.types, listening)
        said += ["in another terminal:"] if others else ["no other process finds it: memory:// is within one"]
        said += [f"  {line}" for line in others]
        said += ["", "Ctrl-C leaves", ""]
        self._print("\n".join(map(output.printable, said)))

    async def _watch(self) -> None:
        """Prints who is in, who comes and who goes."""
        incarnations: Dict[str, int] = {}
        async for event in self._silo.events(since=()):
            silo = event.silo
            if event.kind == "left":
                self._say(f"- {silo.silo_id} left")
            elif event.kind == "joined":
                self._say(f"+ {silo.silo_id} joined, {silo.endpoint}")
            elif silo.incarnation != incarnations.get(silo.silo_id):
                self._say(f"+ {silo.silo_id} joined again, {silo.endpoint}")
            incarnations[silo.silo_id] = silo.incarnation

    async def _answer(self, request: Request) -> bytes:
        actor = f"{request.actor_type}/{request.actor_id}"
        one_way = ", one way" if request.is_one_way else ""
        size = "1 byte" if len(request.payload) == 1 else f"{len(request.payload)} bytes"
        self._say(f"  {actor} {request.method_name or '-'}, {size} from {request.caller}{one_way}")
        return await echo.answer(request, self._silo.silo_id)

    def _say(self, text: str, always: bool = False) -> None:
        if always or not self._options.quiet:
            self._print(f"{time.strftime('%H:%M:%S')} {output.printable(text)}")

    def _print(self, text: str) -> None:
        """Prints; when nobody reads any more it leaves, and the request that was to be told of is answered."""
        try:
            print(text, flush=True)
        except OSError as error:
            self._lost = self._lost or error
            self._leave.set()


def _any_port(endpoint: str) -> str:
    """The same host with a port of the system's choice: two silos cannot share one."""
    return endpoint.rpartition(":")[0] + ":0"
