"""Echo between two Python processes. Driven by `cargo xtask bench`.

`echo.py serve SUBJECT NAME` prints `ready ADDRESS` and ends when its standard input does; `echo.py call SUBJECT` with the words
of :class:`meter.Load` prints one line of JSON. A subject is `quark`, `tcp`, `grpc`, `zeromq` or `ring`, and after a dash what the module
`on_…` makes of it: `quark-async`, `tcp-tasks`.
"""

import asyncio
import importlib
import sys

from meter import Load


async def main(verb: str, subject: str, *words: str) -> None:
    module, _, way = subject.partition("-")
    driver = importlib.import_module(f"on_{module}")
    if verb == "serve":
        await driver.serve(way, *words)
    else:
        await driver.call(way, Load.of(list(words)))


asyncio.run(main(*sys.argv[1:]))
