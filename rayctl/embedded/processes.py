"""Kubelet and proxy beside the API server, as processes of their own: what one of them suffers does not touch the
others.

They end with the process that started them, however that ends; pods do not, unless they are asked to.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rayctl.embedded.kubelet.main import KubeletOptions, choose_mode, claim
from rayctl.embedded.kubelet.network.plan import SLOTS, service_network
from rayctl.errors import Conflict

__all__ = ["Claimed", "claim_slot", "keep_running", "run_node"]

END_S = 90.0
AGAIN_S = 1.0


class Claimed:
    """A node's number on this machine, held until this process ends.

    Raises:
        Conflict: All are taken, or the one of this folder is.
    """

    def __init__(self, data: Path) -> None:
        known = data / "slot"
        wanted = [int(known.read_text())] if known.exists() else list(range(SLOTS))
        for slot in wanted:
            held = claim(slot)
            if held is not None:
                self.slot, self._held = slot, held
                data.mkdir(mode=0o700, parents=True, exist_ok=True)
                known.write_text(str(slot))
                return
        raise Conflict(
            "The addresses of this node are in use by another one on this machine.",
            code="node-in-use",
            hint=f"End that one first; or remove {known} to get other addresses, after which pods start anew.",
        )

    def release(self) -> None:
        """Give the number back."""
        self._held.close()

    @property
    def service_network(self) -> str:
        """The network of this node's Services."""
        return service_network(self.slot)


def claim_slot(data: Path) -> Claimed:
    """Take a number for a data folder, the same again as the last time. Raises Conflict."""
    return Claimed(data)


async def run_node(options: KubeletOptions, claimed: Claimed, kubeconfig: Path, say: Callable[[str], None]) -> None:
    """Run kubelet and proxy until cancelled; start them again when they end by themselves.

    Args:
        claimed: The node's number; given back at the end.
        say: Told in a sentence which network mode pods get, and of ends.

    Raises:
        InvalidRequest: The network mode that was asked for cannot be had.
    """
    mode, why = choose_mode(options.network)
    say(why)
    options = replace(options, network=mode, kubeconfig=str(kubeconfig))
    commands = {
        "kubelet": ["-m", "rayctl.embedded.kubelet.main", options.text()],
        "proxy": ["-m", "rayctl.embedded.proxy.main", str(kubeconfig)],
    }
    tasks = {name: asyncio.create_task(keep_running(name, words, say)) for name, words in commands.items()}
    try:
        # Not gather: that would cancel them all at once, and a second time below, in the middle of their waiting.
        await asyncio.wait(tasks.values())
    finally:
        # One after the other: pods may still want to reach Services while they end.
        for task in tasks.values():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        claimed.release()


async def keep_running(name: str, words: Sequence[str], say: Callable[[str], None]) -> None:
    """Run ``python WORDS… --die-with-parent`` until cancelled; again, whenever it ends by itself.

    Args:
        name: What it is, for ``say``.
        say: Told when it ended.
    """
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, "--die-with-parent", stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), END_S)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            raise
        how = signal.Signals(-code).name if code < 0 else f"code {code}"
        say(f"{name}: ended by {how}; started again.")
        await asyncio.sleep(AGAIN_S)
