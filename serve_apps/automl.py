"""AutoML for other Serve applications: a deployment to compose with.

from serve_apps.automl import automl

@serve.deployment
class Mine:
    def __init__(self, automl):
        self.automl = automl

    async def __call__(self, request):
        run_id = await self.automl.submit.remote({"task": "regression", "target": "y"}, table)
        return await self.automl.result.remote(run_id, wait_s=60)

app = Mine.bind(automl())
"""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application

from rayctl.api.ray_service import RayService
from rayctl.settings import ServiceSettings

__all__ = ["AutoML", "automl"]


class AutoML:
    """Passes calls on to the service; trusted code only, since it asks for no token."""

    def __init__(self, args: dict[str, Any]) -> None:
        from rayctl.automl.ensure import ensure_proxy

        settings = ServiceSettings(**args)
        self._service = RayService(lambda: ensure_proxy(settings))

    async def submit(self, request: dict[str, Any], data: Any = None, idempotency_key: str | None = None) -> str:
        """Accept a request and return its run id. See `rayctl.automl.port.AutoMLService.do_auto_ml`."""
        return await self._service.do_auto_ml(request, data, idempotency_key=idempotency_key)

    async def result(self, run_id: str, wait_s: float = 0.0) -> dict[str, Any]:
        """Return the result of a run, waiting up to ``wait_s`` seconds for its end."""
        return await self._service.get_result(run_id, wait_s=wait_s)


def automl(args: dict[str, Any] | None = None) -> Application:
    """Return the deployment, bound and ready to be passed on. ``args``: any of the `ServiceSettings`."""
    deployment = serve.deployment(AutoML, name="automl", max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    return deployment.bind(args or {})
