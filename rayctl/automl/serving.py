"""Serving finished models as Ray Serve applications. Runs in task processes: Serve's client is synchronous."""

from __future__ import annotations

from typing import Any

import ray

from rayctl.errors import Unavailable

__all__ = ["DEPLOY", "REMOVE", "deployment_name", "route_of", "serve_failed", "states"]


def deployment_name(run_id: str) -> str:
    """The name of a deployment when the caller gives none."""
    return f"model-{run_id}"


def route_of(name: str) -> str:
    """The HTTP path of a deployment."""
    return f"/models/{name}"


def serve_failed(message: str, code: str) -> Unavailable:
    """The error for what Ray Serve could not do."""
    return Unavailable(message[:500], code=code, hint="See the log of Ray Serve, then try again.")


def deploy(name: str, arguments: dict[str, Any]) -> str:
    """Start (or replace) the application ``name``; returns its status once it is running."""
    from ray import serve

    from serve_apps.predict import build

    serve.run(build(arguments), name=name, route_prefix=route_of(name))
    return str(serve.status().applications[name].status.value)


def remove(name: str) -> None:
    """Remove the application; removing what is not there is fine."""
    from ray import serve

    if name in serve.status().applications:
        serve.delete(name)


def states() -> dict[str, str]:
    """Return how Serve's applications are: name → ``running``, ``deploying``, ``unhealthy``, … Raises RayError."""
    from ray import serve

    return {name: str(found.status.value).lower() for name, found in serve.status().applications.items()}


DEPLOY = ray.remote(num_cpus=0, max_retries=1)(deploy)
REMOVE = ray.remote(num_cpus=0, max_retries=1)(remove)
