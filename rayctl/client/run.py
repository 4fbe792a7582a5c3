"""A handle for one run: cheap, lazy, and the same over HTTP and over Ray."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayctl.automl.request import further_budget, seconds
from rayctl.client.download import save
from rayctl.client.retry import Patience, is_outage, pause_briefly
from rayctl.client.transport import Document, Transport
from rayctl.errors import DeadlineExceeded, InvalidRequest, RayctlError, ResultNotReady, RunFailed

if TYPE_CHECKING:
    import pandas as pd

    from rayctl.automl.model import Event, RunState, RunView
    from rayctl.client.ensemble import Ensemble
    from rayctl.client.leaderboard import Leaderboard
    from rayctl.client.report import ReportPage

__all__ = ["ENDED", "Run"]

ENDED = ("succeeded", "failed", "cancelled")

_POLL_S = 20.0
_SHORTEST_POLL_S = 0.5


class Run:
    """One AutoML run. ``id`` names it; nothing is asked of the service before it is needed.

    ``view`` is what was last heard of the run; `refresh` asks again.
    """

    def __init__(self, transport: Transport, run_id: str, document: Document | None = None) -> None:
        self.id = run_id
        self._transport = transport
        self._document = document

    def __repr__(self) -> str:
        return f"<Run {self.id} {self._document['state']}>" if self._document else f"<Run {self.id}>"

    @property
    def view(self) -> RunView:
        """What was last heard of the run."""
        from rayctl.automl.model import RunView

        return RunView.model_validate(self.document)

    @property
    def document(self) -> Document:
        """`view` as a plain dictionary."""
        return self._document if self._document is not None else self.fetch()

    @property
    def state(self) -> RunState:
        """State as last heard."""
        from rayctl.automl.model import RunState

        return RunState(self.document["state"])

    def refresh(self) -> RunView:
        """Ask the service and return the run as it is now. Raises NotFound."""
        self.fetch()
        return self.view

    def fetch(self) -> Document:
        """Like `refresh`, as a plain dictionary."""
        self._document = self._transport.get_run(self.id)
        return self._document

    def wait(self, timeout: float | str | timedelta | None = None) -> RunView:
        """Wait until the run has ended, however it ended, and return its view.

        Survives a service that restarts. ``timeout`` None waits as long as the run lasts.

        Raises:
            DeadlineExceeded: the run goes on after ``timeout``.
        """
        limit_s = seconds(timeout)
        deadline = None if limit_s is None else time.monotonic() + limit_s
        patience = Patience()
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                raise DeadlineExceeded(
                    f"Run {self.id} has not ended within {limit_s:g} s; it goes on.",
                    hint=f"Follow it with `rayctl automl watch {self.id}`.",
                )
            wait_s = _POLL_S if left is None else min(_POLL_S, left)
            asked_at = time.monotonic()
            try:
                if self._ended_within(wait_s):
                    return self.refresh()
                patience.reset()
                early_s = min(wait_s, _SHORTEST_POLL_S) - (time.monotonic() - asked_at)
                if early_s > 0:
                    pause_briefly(early_s)
            except RayctlError as error:
                if not is_outage(error):
                    raise
                patience.pause(error, left)

    def _ended_within(self, wait_s: float) -> bool:
        try:
            self._transport.result(self.id, wait_s)
        except ResultNotReady:
            return False
        except RunFailed:
            return True
        return True

    def watch(self, after: int = 0) -> Iterator[Event]:
        """Yield the run's events with ``seq > after``, from the first to ``done``.

        A dropped connection is taken up again after the last event seen. Leaving the loop leaves the run going.

        Raises:
            NotFound, NotAuthenticated: at once.
            ServerUnreachable, Unavailable: after a minute in which the service stayed away.
        """
        from rayctl.automl.model import Event

        for document in self.watch_documents(after):
            yield Event.model_validate(document)

    def watch_documents(self, after: int = 0) -> Iterator[Document]:
        """Like `watch`, as plain dictionaries."""
        patience = Patience()
        while True:
            quiet = True
            try:
                for event in self._transport.events(self.id, after):
                    if event["seq"] <= after:
                        continue
                    after, quiet = event["seq"], False
                    patience.reset()
                    if event["kind"] in ("state", "done") and "state" in event["data"]:
                        self._document = event["data"]
                    yield event
                    if event["kind"] == "done":
                        return
                if quiet and self.fetch()["state"] in ENDED:
                    # The log of an old run may be gone while its view is still there.
                    yield self._synthetic_done(after + 1)
                    return
                pause_briefly(_SHORTEST_POLL_S)
            except RayctlError as error:
                if not is_outage(error):
                    raise
                patience.pause(error)

    def _synthetic_done(self, seq: int) -> Document:
        view = self.document
        return {"run_id": self.id, "seq": seq, "at": view.get("finished_at") or "", "kind": "done", "data": view}

    def leaderboard(self, limit: int | None = None) -> Leaderboard:
        """Return the trials, best first; also while the run goes on."""
        from rayctl.client.leaderboard import Leaderboard

        return Leaderboard(self.leaderboard_documents(limit), metric=(self._document or {}).get("metric"))

    def leaderboard_documents(self, limit: int | None = None) -> list[Document]:
        """Like `leaderboard`, as plain dictionaries."""
        return self._transport.leaderboard(self.id, limit)

    @property
    def ensemble(self) -> Ensemble | None:
        """The trials that the delivered model consists of, with their weights; None while there is no model.

        A model of one trial has one member, with weight 1. Asks the service.
        """
        from rayctl.client.ensemble import ensemble_of

        return ensemble_of(self.fetch(), self.leaderboard_documents)

    def result(self, wait: float | str | timedelta | None = None) -> Document:
        """Return the result: ``run``, ``best``, ``ensemble``, ``leaderboard``, ``artifacts``, ``reproduce``.

        For series also ``forecast``.

        Args:
            wait: How long to wait for the run to end. None: not at all.

        Raises:
            ResultNotReady: the run goes on (without ``wait``).
            DeadlineExceeded: the run goes on after ``wait``.
            RunFailed: it ended without a result; the message says why.
        """
        if wait is not None:
            self.wait(wait)
        return self._transport.result(self.id)

    def forecast(self) -> pd.DataFrame:
        """Return the forecast that belongs to the result of a run on series.

        Raises:
            InvalidRequest: the run was not about series.
            ResultNotReady, RunFailed: as `result`.
        """
        import pandas as pd

        result = self.result()
        records = result.get("forecast")
        if records is None:
            raise InvalidRequest(
                f"Run {self.id} is not about series and has no forecast.", hint="Use predict(data) for tables."
            )
        frame = pd.DataFrame.from_records(records)
        time_column = ((result.get("reproduce") or {}).get("request") or {}).get("time_column")
        if time_column in frame.columns and frame[time_column].dtype == object:
            zone = ((result.get("ensemble") or {}).get("settings") or {}).get("time_zone")
            times = pd.to_datetime(frame[time_column], utc=zone is not None)
            frame[time_column] = times if zone is None else times.dt.tz_convert(zone)
        return frame

    def predict(self, data: Any = None, proba: bool = False) -> pd.DataFrame:
        """Predict with the run's model; one row per row of ``data``, with the index of a frame.

        For series, None continues the training data.

        Raises:
            InvalidData: columns are missing or of another type than in training.
            InvalidRequest: ``proba`` for a model without probabilities.
        """
        from rayctl.client.model import as_frame

        return as_frame(self.predict_table(data, proba), data)

    def predict_table(self, data: Any = None, proba: bool = False) -> Any:
        """Like `predict`, as an Arrow table."""
        return self._transport.predict(self.id, data, proba)

    def artifacts(self) -> list[Document]:
        """Return ``name``, ``bytes`` and ``sha256`` of each file of the result."""
        return self._transport.artifacts(self.id)

    def download(self, name: str, path: str | Path = ".") -> Path:
        """Save one artifact and return where it is; a folder gets it under its own name.

        The file appears when it is complete and its checksum is right, or not at all.

        Raises:
            NotFound: no such artifact.
            RayctlError: the checksum is not the one the service knows (``checksum-mismatch``).
        """
        known = next((item for item in self.artifacts() if item.get("name") == name), {})
        return save(self._transport.artifact(self.id, name), name, Path(path), known.get("sha256"), known.get("bytes"))

    def cancel(self) -> RunView:
        """Ask the run to stop; what was found so far stays. Cancelling an ended run is fine."""
        self._document = self._transport.cancel(self.id)
        return self.view

    def finish(self) -> RunView:
        """End the search now; the run delivers the best it has. Returns at once; `wait` for the result.

        Raises:
            Conflict: the run is waiting in the queue.
        """
        self._document = self._transport.finish(self.id)
        return self.view

    def extend(
        self,
        time_budget: float | str | timedelta | None = None,
        max_trials: int | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Run:
        """Continue this ended run with more budget and return the new run, which takes over all trials of this one.

        Args:
            time_budget: How much longer: seconds, a text (``"2m"``) or timedelta.
            max_trials: How many trials more.
            idempotency_key: The same key again returns the same new run. Without one, a key of this call alone makes
                it repeatable when the connection breaks.

        Raises:
            InvalidRequest: neither is given, or not a possible amount.
            Conflict: this run has not ended (``run-not-ended``).
        """
        budget_s, count = further_budget(time_budget, max_trials)
        return self._new(self._transport.extend(self.id, budget_s, count, idempotency_key or uuid.uuid4().hex))

    def replay(self, *, idempotency_key: str | None = None) -> Run:
        """Repeat exactly what finished in this ended run, and return the new run.

        With the same data, seed and versions it has the same scores, also when this run was bounded by time. The same
        ``idempotency_key`` again returns the same new run.

        Raises:
            Conflict: this run has not ended, or nothing finished in it (``nothing-to-replay``).
        """
        return self._new(self._transport.replay(self.id, idempotency_key or uuid.uuid4().hex))

    def _new(self, document: Document) -> Run:
        return Run(self._transport, str(document["id"]), document=document)

    def report(self, path: str | Path = "report.html") -> ReportPage:
        """Save the report as one HTML page that needs nothing else, and return its path. Notebooks show the page.

        The service builds the report when it is asked for the first time, which takes some seconds.

        Raises:
            Conflict: the run has not ended.
        """
        from rayctl.client.report import ReportPage

        [page] = self._save_of_report(lambda name: name == "report.html", Path(path))
        return ReportPage(page)

    def report_data(self) -> Document:
        """Return the data behind the report: metrics, weights, curves, importance, what is needed to reproduce it."""
        import json

        self._transport.report_files(self.id)
        document: Document = json.loads(b"".join(self._transport.artifact(self.id, "report.json")))
        return document

    def plots(self, folder: str | Path = "plots", format: str | None = "svg") -> list[Path]:
        """Save the report's pictures into a folder and return where they are.

        Args:
            folder: Made if it is not there.
            format: ``svg``, ``png``, or None for both.

        Raises:
            Conflict: the run has not ended.
            InvalidRequest: no such format.
        """
        if format not in (None, "svg", "png"):
            raise InvalidRequest(f"There are no pictures as {format!r}.", hint="Choose svg, png, or None for both.")
        ends = f".{format}" if format else ""

        def wanted(name: str) -> bool:
            return name.startswith("plots/") and name.endswith(ends)

        # The separator at the end says that it is a folder, also while there is none.
        return self._save_of_report(wanted, folder if str(folder).endswith(os.sep) else f"{folder}{os.sep}")

    def _save_of_report(self, wanted: Callable[[str], bool], path: str | Path) -> list[Path]:
        files = [item for item in self._transport.report_files(self.id) if wanted(str(item["name"]))]
        return [
            save(self._transport.artifact(self.id, item["name"]), item["name"], path, item["sha256"], item["bytes"])
            for item in files
        ]

    def delete(self) -> None:
        """Remove the run and its files for good. Raises Conflict while it goes on."""
        self._transport.delete(self.id)

    def deploy(self, name: str | None = None) -> Document:
        """Serve the model; return ``name``, ``route``, ``run_id``, ``state``."""
        return self._transport.deploy(self.id, name)
