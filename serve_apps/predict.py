"""One run's model as a Ray Serve application: ``POST /`` predicts, ``GET /schema`` tells for what.

Started with ``serve.run(build({...}), name=..., route_prefix=...)``, one application per deployment. The bundle is
read once, in the replica; what it needs to be trusted for is the engine's matter (`rayctl.automl.bundle`).
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Annotated, Any

import fsspec
import ray
from fastapi import FastAPI, Query, Request
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rayctl import __version__
from rayctl.api.auth import TokenBook
from rayctl.api.bodies import Budget, media_type, parse_json, read_body
from rayctl.api.deps import Caller
from rayctl.api.documents import Predictions, answer
from rayctl.api.middleware import Guard
from rayctl.api.problems import PROBLEM_RESPONSES, add_problem_handlers, complete_openapi
from rayctl.api.routes.data import read_table_body
from rayctl.api.tables import check_format, choose_answer, render, table_from_json
from rayctl.automl.bundle import read_bundle
from rayctl.automl.engine import engine_for
from rayctl.automl.model import TaskType
from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE
from rayctl.errors import NotFound, Unavailable
from rayctl.settings import ServiceSettings

__all__ = ["ModelArgs", "build", "create_model_app"]

_BUNDLE_NAME = "model.zip"
_CHUNK = 8 * 1024 * 1024
_MAX_ONGOING = 32


class ModelArgs(BaseModel):
    """What `build` is told.

    The bundle comes from ``bundle`` (bytes; small ones only, Serve keeps its arguments in the control store), from
    ``bundle_path`` (a path or fsspec URL that the replica can read), or else from the ``automl-proxy`` actor.
    ``sha256``: digest of the bundle. Without it no model of a caller's own class is loaded; with another one, nothing.
    ``tenant``: whose run it is; tokens bound to other tenants are turned away. None: only operators' tokens pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    task: TaskType
    tenant: str | None = None
    bundle: bytes | None = None
    bundle_path: str | None = None
    sha256: str | None = None
    token_file: Path | None = None
    num_cpus: float = 0.0
    num_replicas: int = 1


class _AtRoot:
    """Lets ``/prefix`` mean ``/prefix/``: Serve passes it on as an empty path, which no route can have."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", ""):
            scope = {**scope, "path": scope["path"] + "/"}
        await self.app(scope, receive, send)


def _load(args: ModelArgs) -> bytes:
    if args.bundle is not None:
        return args.bundle
    if args.bundle_path is not None:
        with fsspec.open(args.bundle_path, "rb") as file:
            return bytes(file.read())
    proxy = ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE)
    parts: list[bytes] = []
    while not parts or len(parts[-1]) == _CHUNK:
        offset = sum(map(len, parts))
        parts.append(ray.get(proxy.artifact.remote(args.run_id, _BUNDLE_NAME, offset=offset, length=_CHUNK)))
    return b"".join(parts)


def _normal(data: Any, declared: str | None = None) -> Any:
    """Return the table in the form that the service itself predicts with."""
    from rayctl.automl.ingest import normalize, to_table

    return normalize(to_table(data, declared), keep_others=True)


def _is_what_was_stored(bundle: bytes, args: ModelArgs) -> bool:
    if args.sha256 is None:
        return False
    if hashlib.sha256(bundle).hexdigest() != args.sha256:
        raise Unavailable(f"The model of run {args.run_id} is not the one that was stored.", code="model-changed")
    return True


def create_model_app(bundle: bytes, args: ModelArgs, *, tokens: TokenBook, settings: ServiceSettings) -> FastAPI:
    """Return the application of one model. A damaged bundle fails here and not at the callers'."""
    engine = engine_for(args.task)
    trusted = _is_what_was_stored(bundle, args)
    info = read_bundle(bundle).info

    app = FastAPI(
        title=f"rayctl model {args.run_id}",
        version=__version__,
        responses=PROBLEM_RESPONSES,
        redoc_url=None,
        redirect_slashes=False,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.settings = settings
    app.state.budget = budget = Budget(2 * settings.max_data_bytes)
    add_problem_handlers(app)
    app.add_middleware(_AtRoot)
    app.add_middleware(Guard, tokens=tokens, budget=budget)

    def check(caller: Any) -> None:
        if caller.tenant is not None and caller.tenant != args.tenant:
            raise NotFound("There is no model at this path.")

    async def read_table(request: Request) -> Any:
        if media_type(request) in ("", "application/json"):
            body = await read_body(request, settings.max_request_bytes)
            rows = await asyncio.to_thread(table_from_json, parse_json(body), bare=True) if body else None
            return None if rows is None else await asyncio.to_thread(_normal, rows)
        data, declared = await read_table_body(request, settings.max_data_bytes)
        check_format(data, declared)
        return await asyncio.to_thread(_normal, data, declared)

    @app.post("/", response_model=Predictions)
    async def predict(request: Request, caller: Caller, proba: Annotated[bool, Query()] = False) -> Response:
        """Predict for one row (an object), rows (a list), `{"columns": …}` or a CSV, Parquet or Arrow body."""
        check(caller)
        answer_type = choose_answer(request.headers.get("accept"))
        table = await read_table(request)
        found = await asyncio.to_thread(engine.predict, bundle, table, proba=proba, allow_pickle=trusted)
        return Response(await asyncio.to_thread(render, found, answer_type), media_type=answer_type)

    @app.get("/schema")
    async def schema(caller: Caller) -> Response:
        """What the model was trained on: its columns and their types."""
        check(caller)
        return answer({"run_id": args.run_id, "task": args.task.value, "schema": info.get("schema", info)})

    @app.get("/healthz")
    async def healthz() -> Response:
        """Whether the model is loaded. Needs no token."""
        return answer({"status": "ok"})

    complete_openapi(app)
    return app


def build(args: dict[str, Any]) -> Application:
    """Return the Serve application of one model. ``args``: the fields of `ModelArgs`."""
    options = ModelArgs.model_validate(args)

    def api() -> FastAPI:
        settings = ServiceSettings()
        tokens = TokenBook.from_file(options.token_file or settings.token_file or settings.home / "token")
        return create_model_app(_load(options), options, tokens=tokens, settings=settings)

    deployment = serve.deployment(
        serve.ingress(api)(),
        name="model",
        num_replicas=options.num_replicas,
        max_ongoing_requests=_MAX_ONGOING,
        ray_actor_options={"num_cpus": options.num_cpus},
    )
    return deployment.bind()
