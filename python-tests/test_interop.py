"""A C program and a Python program call each other's actors on one Redis."""

import asyncio
import os
import subprocess

import pytest
import quark
from support import ROOT, until


@pytest.fixture(scope="module")
def c_program(tmp_path_factory):
    library = ROOT / "target" / "debug"
    assert (library / "libquark.so").exists(), "cargo build -p quark-ffi makes it"
    program = tmp_path_factory.mktemp("interop") / "interop"
    command = [os.environ.get("CC", "cc"), "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    command += ["-o", str(program), str(ROOT / "python-tests" / "interop.c"), f"-L{library}", "-lquark"]
    subprocess.run([*command, f"-Wl,-rpath,{library}"], check=True, timeout=60)
    return program


async def test_c_and_python_call_each_other(redis_url, cluster_name, c_program):
    def in_python(request):
        if request.method_name == "fail":
            raise ValueError("Python says no")
        return b"Python got: " + request.payload

    silo = quark.Silo("silo-py", membership=redis_url, cluster=cluster_name, handlers={"InPython": in_python})
    async with silo:
        child = await asyncio.create_subprocess_exec(
            c_program, redis_url, cluster_name, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert await asyncio.wait_for(child.stdout.readline(), 30) == b"Python got: from C\n"
            assert await asyncio.wait_for(child.stdout.readline(), 30) == b"HANDLER_FAILED ValueError: Python says no\n"
            await until("the C silo is seen", lambda: len(silo.silos()) == 2)
            assert silo.owner("InC", "7") == "silo-c"
            assert await silo.call("InC", "7", "echo", b"from Python") == b"from Python"
            with pytest.raises(quark.HandlerFailedError, match="C says no"):
                await silo.call("InC", "7", "fail")
        finally:
            child.stdin.close()
            assert await asyncio.wait_for(child.wait(), 20) == 0
        await until("the C silo left", lambda: len(silo.silos()) == 1)
