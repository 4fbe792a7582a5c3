"""The job beside the control plane's Ray head that makes its actors and stays: ``python -m rayctl.selfhost.bootstrap``.

It is a container of the head's pod. When the head ends and is started again, the actors are gone with it; this job
notices, ends, and is started again too, and makes them anew: the control plane heals without a controller.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from rayctl.core.actor import ActorOptions
from rayctl.selfhost.controllers import ensure_actors

__all__ = ["actor_options", "main"]

ADDRESS = "ray://127.0.0.1:10001"
HEAD_WITHIN_S = 300.0
RETRY_S = 2.0
LOOK_EVERY_S = 10.0
ANSWER_S = 60.0


def actor_options(environ: Mapping[str, str]) -> ActorOptions:
    """Return how the actors are run, from the container's variables: each under the account of its own name. Pure."""
    namespace = environ.get("RAYCTL_NAMESPACE") or "rayctl-system"
    return ActorOptions(
        lease_namespace=namespace,
        accounts_namespace=namespace,
        watch_namespace=environ.get("RAYCTL_WATCH_NAMESPACE", ""),
    )


def _connect() -> None:
    import ray

    deadline = time.monotonic() + HEAD_WITHIN_S
    while True:
        try:
            # By Ray's client: this container shares the head's network, not its files.
            ray.init(os.environ.get("RAY_ADDRESS", ADDRESS), log_to_driver=False)
            return
        except (ConnectionError, TimeoutError, RuntimeError) as error:
            if time.monotonic() > deadline:
                raise
            print(f"the head does not answer yet: {type(error).__name__}", flush=True)
        time.sleep(RETRY_S)


def main() -> None:
    """Make the actors, and stay as long as all of them answer."""
    import ray
    from ray.exceptions import RayError

    try:
        _connect()
        handles = ensure_actors(actor_options(os.environ))
        known: dict[str, Any] = {}
        while True:
            for name, handle in handles.items():
                identity = ray.get(handle.ping.remote(), timeout=ANSWER_S)
                if known.get(name) != identity:
                    print(f"{name} is {identity}", flush=True)
                known[name] = identity
            time.sleep(LOOK_EVERY_S)
    except (RayError, ConnectionError, TimeoutError, RuntimeError) as error:
        sys.exit(f"bootstrap: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
