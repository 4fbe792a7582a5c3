"""The noun ``connection.automl``: hand in requests, find runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rayctl.automl.request import build_request, request_document
from rayctl.client.data import source_of
from rayctl.client.run import Run
from rayctl.errors import InvalidRequest

if TYPE_CHECKING:
    from rayctl.automl.model import CustomMetric, Resources, RunState, TaskType, Validation
    from rayctl.client.transport import Document, Transport

__all__ = ["AutoML"]


class AutoML:
    """AutoML on one service. Get it as ``connection.automl``."""

    def __init__(self, transport: Transport, *, tenant: str | None = None) -> None:
        self._transport = transport
        self._tenant = tenant

    def submit(
        self,
        data: Any = None,
        *,
        target: str,
        task: str | TaskType,
        features: list[str] | None = None,
        time_column: str | None = None,
        id_columns: str | list[str] | None = None,
        horizon: int | None = None,
        season_length: int | list[int] | None = None,
        frequency: str | None = None,
        known_future: str | list[str] | None = None,
        levels: int | list[int] | None = None,
        weight_column: str | None = None,
        search_space: Any = None,
        metric: str | Callable[..., float] | CustomMetric | None = None,
        custom_metric: Mapping[str, Any] | CustomMetric | None = None,
        validation: Mapping[str, Any] | Validation | None = None,
        ensemble: bool | None = None,
        stacking: bool | None = None,
        calibrate: bool | None = None,
        class_weight: str | None = None,
        max_predict_ms: float | None = None,
        reuse: bool | None = None,
        time_budget: float | str | timedelta | None = None,
        time_budget_s: float | str | timedelta | None = None,
        max_trials: int | None = None,
        trial_timeout: float | str | timedelta | None = None,
        trial_timeout_s: float | str | timedelta | None = None,
        seed: int | None = None,
        resources: Mapping[str, Any] | Resources | None = None,
        trainer_resources: Mapping[str, Any] | Resources | None = None,
        runtime_env: dict[str, Any] | None = None,
        trainer_runtime_env: dict[str, Any] | None = None,
        max_parallel: int | None = None,
        tenant: str | None = None,
        name: str | None = None,
        labels: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Hand in a request and return its run, without waiting for it.

        ``data``: a pandas or polars frame, an Arrow table, a path or the bytes of a CSV, Parquet or Arrow file; a
        text with a scheme (``s3://…``) or ``uri:`` before it names data that the service fetches; a mapping of
        columns travels inside the request; over Ray also an ObjectRef or a Ray Dataset.

        ``search_space``: ``{model: {parameter: [candidates]}}`` or a list of models; a model is a short name, an
        import path or a class.

        ``metric``: a name, a function ``f(y_true, y_pred)``, its path (``module:function``), or what
        `rayctl.custom_metric` made of one; functions that workers cannot import need a connection over Ray.

        The other arguments are the fields of `rayctl.automl.model.RunRequest`; durations are seconds, texts
        (``"10m"``) or timedelta.

        With the same ``idempotency_key`` a repeated call returns the run of the first one.

        Raises:
            InvalidRequest, InvalidData: what was asked for cannot be done; ``errors`` names the places.
            QueueFull, TooLarge, Forbidden, Unavailable, ServerUnreachable, DeadlineExceeded.
        """
        fields = {key: value for key, value in locals().items() if key not in ("self", "data", "idempotency_key")}
        fields["tenant"] = tenant or self._tenant
        return self.submit_request(fields, data, idempotency_key=idempotency_key)

    def submit_request(self, fields: Mapping[str, Any], data: Any = None, *, idempotency_key: str | None = None) -> Run:
        """Like `submit`, for fields that are a mapping already."""
        document, rest = self.prepare(fields, data)
        # A key of our own makes every submission repeatable when the connection breaks.
        view = self._transport.submit(document, rest, idempotency_key or uuid.uuid4().hex)
        return Run(self._transport, str(view["id"]), document=view)

    def prepare(self, fields: Mapping[str, Any], data: Any = None) -> tuple[Document, Any]:
        """Check a request locally; return the document to send and the data that travels beside it (or None)."""
        fields = dict(fields)
        source = source_of(data)
        if data is not None and fields.get("data") is not None:
            raise InvalidRequest("The data is given twice: as an argument and as the field `data`.")
        if source is not None:
            fields["data"], data = source, None
        return request_document(build_request(fields), self._transport.kind), data

    def get(self, run_id: str) -> Run:
        """Return a run. Raises NotFound."""
        return Run(self._transport, run_id, document=self._transport.get_run(run_id))

    def run(self, run_id: str) -> Run:
        """Return a handle for a run without asking the service whether it exists."""
        return Run(self._transport, run_id)

    def list(
        self, *, state: str | RunState | None = None, tenant: str | None = None, limit: int | None = None
    ) -> Iterator[Run]:
        """Yield runs, newest first; all of them, page by page, unless ``limit`` is given."""
        for view in self.list_documents(state=state, tenant=tenant, limit=limit):
            yield Run(self._transport, str(view["id"]), document=view)

    def list_documents(
        self, *, state: str | RunState | None = None, tenant: str | None = None, limit: int | None = None
    ) -> Iterator[Document]:
        """Like `list`, as plain run views."""
        cursor, left = None, limit
        wanted = getattr(state, "value", state)
        while left is None or left > 0:
            size = 100 if left is None else min(left, 100)
            page = self._transport.list_runs(tenant=tenant or self._tenant, state=wanted, limit=size, cursor=cursor)
            items = page.get("items", [])[:size]
            yield from items
            cursor = page.get("next")
            if left is not None:
                left -= len(items)
            if not cursor or not items:
                return

    def deployments(self) -> list[Document]:  # type: ignore[valid-type]  # the method above is also called list
        """Return what is served: ``name``, ``route``, ``run_id``, ``state``."""
        return self._transport.deployments()

    def undeploy(self, name: str) -> None:
        """Stop serving a deployment. Raises NotFound."""
        self._transport.undeploy(name)

    def info(self) -> Document:
        """Return the service's versions, limits, resources and counts."""
        return self._transport.info()
