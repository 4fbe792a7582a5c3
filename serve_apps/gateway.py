"""The HTTP gateway: the rayctl API as a Ray Serve application.

``serve deploy serve_apps/config.yaml`` uses ``serve_apps.gateway:app``; ``serve_apps.gateway:build`` takes the same
settings as arguments. The FastAPI application is made inside the replica, so nothing of it is ever pickled.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from rayctl.api.app import create_app
from rayctl.api.auth import TokenBook
from rayctl.api.measuring import of_control_plane
from rayctl.api.ray_service import RayService
from rayctl.settings import ServiceSettings
from rayctl.state.turn import read_turn, turn_file, wait_for_turn

__all__ = ["app", "build"]

_MAX_ONGOING = 100


def _make_api(args: dict[str, Any]) -> FastAPI:
    """Make the application; called once, in the replica, whose environment has the RAYCTL_* settings."""
    from rayctl.automl.ensure import ensure_proxy  # here and not above: importing this module must not need the service

    settings = ServiceSettings(**args)
    # Without tokens the replica does not start; the reason is then the message of the Serve application.
    tokens = TokenBook.from_file(settings.token_file or settings.home / "token")

    turn = settings.turn_file or turn_file(settings.home)

    def find() -> Any:
        wait_for_turn(turn, settings.side)
        return ensure_proxy(settings)

    if read_turn(turn).is_of(settings.side):
        find()  # a service that cannot start should fail the deployment, and not its first caller
    return create_app(RayService(find), tokens=tokens, settings=settings, counted=of_control_plane(settings.home))


def build(args: dict[str, Any]) -> Application:
    """Return the application. ``args``: any of the `ServiceSettings`, over the environment's."""

    def api() -> FastAPI:
        return _make_api(args)

    deployment = serve.deployment(
        serve.ingress(api)(),
        name="gateway",
        num_replicas=1,
        max_ongoing_requests=_MAX_ONGOING,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=10,
    )
    return deployment.bind()


app = build({})
