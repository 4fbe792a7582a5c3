"""Finding or creating the proxy actor of a cluster."""

from __future__ import annotations

import logging
import time
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.automl.proxy import ProxyActor
from rayctl.errors import Unavailable
from rayctl.settings import ServiceSettings

__all__ = ["ensure_proxy"]

log = logging.getLogger(__name__)


def ensure_proxy(settings: ServiceSettings) -> Any:
    """Return the handle of the proxy actor, creating it if there is none.

    A proxy whose creating job has ended is replaced: Ray does not keep workers warm for ended jobs, so every task of
    such a proxy would pay for a new process. Its runs continue from the journal.
    """
    for _ in range(20):
        handle = _create(settings)
        try:
            job_id = ray.get(handle.ping.remote(), timeout=60)
        except RayError as error:
            log.warning("the proxy does not answer yet: %s", error)
            time.sleep(0.5)
            continue
        # One made by this very job is as good as it gets here, even if the job's driver has gone.
        if job_id == ray.get_runtime_context().get_job_id() or not _job_is_over(job_id):
            return handle
        ray.kill(handle)
        time.sleep(0.2)
    raise Unavailable("The proxy actor cannot be started.", code="proxy-unavailable", hint="See the Ray logs.")


def _create(settings: ServiceSettings) -> Any:
    options: dict[str, Any] = {}
    if settings.database_url is None or settings.artifact_url is None:
        # Its files are on the node where it is first created.
        here = ray.get_runtime_context().get_node_id()
        options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
    return (
        ray.remote(ProxyActor)
        .options(
            name=PROXY_NAME,
            namespace=RAY_NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
            max_concurrency=2000,
            **options,
        )
        .remote(settings)
    )


def _job_is_over(job_id: str) -> bool:
    from ray._private.state import jobs

    return any(job["JobID"] == job_id and job["IsDead"] for job in jobs())
