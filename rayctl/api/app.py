"""The FastAPI application: `create_app` puts routes, errors and the guard together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI

from rayctl import __version__
from rayctl.api.auth import TokenBook
from rayctl.api.bodies import Budget
from rayctl.api.documents import DeployOptions, ExtendOptions
from rayctl.api.kube.door import Door, Open, opened_by
from rayctl.api.kube.memory import Memory
from rayctl.api.kube.routes import reading, sizing, steering, watching, writing
from rayctl.api.measuring import Counted
from rayctl.api.middleware import Guard
from rayctl.api.pages import actions, docs, gate, objects, others
from rayctl.api.pages.frame import problem_page
from rayctl.api.problems import PROBLEM_RESPONSES, add_problem_handlers, complete_openapi
from rayctl.api.routes import data, deployments, events, follow_up, predict, report, results, runs, system, tenants
from rayctl.api.sse import StreamSlots
from rayctl.automl.model import RunRequest
from rayctl.automl.port import AutoMLService
from rayctl.settings import ServiceSettings

__all__ = ["create_app"]

_MAX_READERS = 64
_MAX_WATCHERS = 24  # each holds up to four watches at the Kubernetes API, of 128 connections
_DESCRIPTION = """AutoML as a service, and fleets of Ray clusters on Kubernetes.

Runs: send a table and a target, follow the trials, get the best model. Fleets, sets, clusters and services: apply what
you want, see what would happen (`:plan`), why it is not so yet (`/explain`), and steer rollouts and switchovers. An
object's `ETag` is its version: a change with `If-Match` is made to that version or answered with 412. Changes take an
`Idempotency-Key` and `dry_run=true`; what they lead to is followed under `/v1/operations` or as server-sent events.

All paths but the probes and this page need `Authorization: Bearer <token>`. Every error is a problem document
(`application/problem+json`, RFC 9457) with a stable `code` and a `trace_id`."""


def create_app(
    service: AutoMLService | Callable[[], AutoMLService | Awaitable[AutoMLService]],
    *,
    tokens: TokenBook,
    settings: ServiceSettings,
    kubernetes: Open | None = None,
    counted: Counted | None = None,
) -> FastAPI:
    """Return the HTTP API over a service.

    Args:
        service: The service, or a cheap callable that returns it (called for each request).
        tokens: Who may call. There is no way to run without.
        settings: Limits of request and data sizes.
        kubernetes: Returns the way to the Kubernetes API; None: the settings say where it is.
        counted: Returns the metrics of other processes, for ``/metrics``.
    """
    app = FastAPI(
        title="rayctl",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # the framework's page loads its script from elsewhere; `pages.docs` does not
        redoc_url=None,
        redirect_slashes=False,
        responses=PROBLEM_RESPONSES,
    )
    app.state.service = service
    app.state.settings = settings
    app.state.tokens = tokens
    app.state.readiness = None
    app.state.counted = counted
    app.state.slots = StreamSlots(_MAX_READERS)
    app.state.kube_slots = StreamSlots(_MAX_WATCHERS)
    app.state.memory = Memory()
    app.state.problem_page = problem_page
    app.state.door = Door(kubernetes) if kubernetes is not None else opened_by(settings)
    app.state.budget = budget = Budget(2 * (settings.max_data_bytes + settings.max_request_bytes))
    add_problem_handlers(app)
    pages = (gate, others, objects, actions) if settings.dashboard else ()
    kube_routes = (reading, writing, sizing, steering, watching)
    # runs comes last of its own: its /v1/runs/{run_id} would match paths with a verb, such as {run_id}:predict, too.
    automl = (tenants, report, results, events, data, predict, deployments, follow_up, runs)
    for module in (system, docs, *automl, *kube_routes, *pages):
        app.include_router(module.router)
    app.add_middleware(Guard, tokens=tokens, budget=budget, allowed_hosts=settings.allowed_hosts)
    complete_openapi(app, RunRequest, DeployOptions, ExtendOptions)
    return app
