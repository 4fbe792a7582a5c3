"""The controllers as a process of their own: ``python -m rayctl.selfhost.foreground KUBECONFIG``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from rayctl.core.actor import ActorOptions
from rayctl.embedded.kubelet.shim import kernel
from rayctl.errors import RayctlError
from rayctl.selfhost.controllers import run_controllers

__all__ = ["main"]


def main() -> None:
    """Run with the kubeconfig of the command line."""
    if "--die-with-parent" in sys.argv:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
    logging.basicConfig(level=logging.WARNING, format="controllers: %(message)s")
    options = ActorOptions(kubeconfig=sys.argv[1])
    try:
        asyncio.run(run_controllers(options, (), True, lambda text: print(text, flush=True)))
    except (RayctlError, OSError) as error:
        sys.exit(f"controllers: {error}")


if __name__ == "__main__":
    main()
