"""Ray: an actor in a worker of its own, a future for each request.

The process that serves is the head of a cluster, whose processes listen on every network that there is: `cargo xtask bench` gives it one that
has nothing but a loopback interface. Its address is the folder where it keeps everything, the token for those who may come in too.
"""

import logging
import os
import secrets
import tempfile
from pathlib import Path
from typing import List

from meter import Load, measure, until_dismissed

LOOPBACK = "127.0.0.1"
NAMESPACE = "bench"


def before_import(folder: str) -> Path:
    """Ray looks at its environment when it is imported."""
    token = Path(folder, "token")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0")
    return token


def with_descendants(pids: List[str]) -> List[str]:
    """These processes and all that they began: the work is done by others than the first."""
    everyone = list(pids)
    for pid in everyone:
        for children in Path("/proc", pid, "task").glob("*/children"):
            everyone += children.read_text(encoding="ascii").split()
    return everyone


async def serve(_: str, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="quark-ray-", ignore_cleanup_errors=True) as folder:
        before_import(folder).write_text(secrets.token_hex(), encoding="ascii")
        import ray

        @ray.remote
        class Echo:
            # A coroutine is slower there.
            def echo(self, content: bytes) -> bytes:
                return content

        ray.init(
            num_cpus=2,
            include_dashboard=False,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
            _node_ip_address=LOOPBACK,
            _temp_dir=folder,
        )
        actor = Echo.options(name=name).remote()
        await actor.echo.remote(b"")
        print("ready", folder, flush=True)
        await until_dismissed()
        ray.shutdown()


async def call(_: str, load: Load) -> None:
    name, _, folder = load.targets.partition("@")
    before_import(folder)
    import ray

    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, _node_ip_address=LOOPBACK, _temp_dir=folder)
    actor, content = ray.get_actor(name), load.content

    async def one() -> None:
        assert await actor.echo.remote(content) == content

    await measure(load._replace(servers=with_descendants(load.servers)), one, load.depth)
    ray.shutdown()
