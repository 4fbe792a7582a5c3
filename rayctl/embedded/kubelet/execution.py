"""Running a command inside of a container, with a time limit: probes and hooks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal

from rayctl.embedded.kubelet.containers import Container, Launch, shim_command

__all__ = ["run_inside"]

MOST_OUTPUT = 10 * 1024
LAUNCH_S = 20.0
"""For so long a command may take to begin: a busy machine is not a sick container."""


async def run_inside(container: Container, launch: Launch, timeout_s: float) -> tuple[int, str]:
    """Return exit code and output (its beginning); a command that takes longer is killed.

    The time counts from when the command itself begins, without our own way into the container.

    Raises:
        asyncio.TimeoutError: It took longer.
        OSError: It could not be started at all.
    """
    inside = container.child if container.namespaced else 0
    spec = {"pid": inside, "argv": list(launch.argv), "env": dict(launch.env), "cwd": launch.cwd}
    begun, ours = os.pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *shim_command("inside"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": os.defpath},
            cwd="/",
            start_new_session=True,
            pass_fds=(ours,),
        )
    except BaseException:
        os.close(begun)
        raise
    finally:
        os.close(ours)
    try:
        await asyncio.wait_for(_begin(process, json.dumps({**spec, "begun": ours}).encode(), begun), LAUNCH_S)
        return await asyncio.wait_for(_read(process), timeout_s)
    finally:
        os.close(begun)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _begin(process: asyncio.subprocess.Process, spec: bytes, begun: int) -> None:
    """Say what to run; wait until it runs, or until it is clear that it does not."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(spec)
        await process.stdin.drain()
        process.stdin.close()
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(begun, closed.set)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(begun)


async def _read(process: asyncio.subprocess.Process) -> tuple[int, str]:
    assert process.stdout is not None
    kept = b""
    while chunk := await process.stdout.read(4096):
        kept = (kept + chunk)[:MOST_OUTPUT]
    return await process.wait(), kept.decode(errors="replace")
