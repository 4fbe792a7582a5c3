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


async def run_inside(container: Container, launch: Launch, timeout_s: float) -> tuple[int, str]:
    """Return exit code and output (its beginning); a command that takes longer is killed.

    Raises:
        asyncio.TimeoutError: It took longer.
        OSError: It could not be started at all.
    """
    inside = container.child if container.namespaced else 0
    spec = {"pid": inside, "argv": list(launch.argv), "env": dict(launch.env), "cwd": launch.cwd}
    process = await asyncio.create_subprocess_exec(
        *shim_command("inside"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.defpath},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        return await asyncio.wait_for(_talk(process, json.dumps(spec).encode()), timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _talk(process: asyncio.subprocess.Process, spec: bytes) -> tuple[int, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(spec)
        await process.stdin.drain()
        process.stdin.close()
    kept = b""
    while chunk := await process.stdout.read(4096):
        kept = (kept + chunk)[:MOST_OUTPUT]
    return await process.wait(), kept.decode(errors="replace")
