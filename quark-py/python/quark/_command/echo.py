"""What the actors of ``quark silo`` do."""

import asyncio
import math

from .._quark import Request

METHODS = """\
echo     replies the payload; so does every method that is not named here
whoami   replies the id of the silo
sleep    waits as many seconds as the payload says, then replies it
fail     raises an error with the payload as its message"""

#: Seconds after which a sleeping actor looks whether somebody still waits for it.
LOOKS_AGAIN = 0.05


class Failed(Exception):
    """Somebody asked for it."""


async def answer(request: Request, silo_id: str) -> bytes:
    """The reply to a request."""
    if request.method_name == "whoami":
        return silo_id.encode()
    if request.method_name == "sleep":
        await _sleep(_seconds(request.payload), request)
    if request.method_name == "fail":
        raise Failed(request.payload.decode(errors="backslashreplace"))
    return request.payload


async def _sleep(seconds: float, request: Request) -> None:
    """Sleeps, but not on when the caller has given up: a silo that leaves waits for what runs."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end and not request.is_abandoned:
        await asyncio.sleep(min(end - loop.time(), LOOKS_AGAIN))


def _seconds(payload: bytes) -> float:
    try:
        seconds = float(payload)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"payload={payload!r}: must be a finite number of seconds, not below 0")
    return seconds
