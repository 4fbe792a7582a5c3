"""Which runs there are, in which order, and what is kept of each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from . import series, tables
from .layout import HERE, TABLES, Layout, Problem, append_line, read_lines
from .measure import Measured, clean_environment, run_adapter
from .peers import FRAMEWORKS, OURS, Framework, ensure_venv
from .service import Service, ServiceFailed

__all__ = ["Plan", "Runner"]

KILL_FACTOR = 4
# Imports and prediction are in nobody's budget, but a process that hangs in them must end as well.
KILL_ALLOWANCE_S = 60.0
UNBUDGETED_LIMIT_S = 900.0
MAX_OTHERS_CORES = 0.25


@dataclass(frozen=True)
class Plan:
    """What is asked for. ``problems``: (kind, task, split). ``again``: also what has a result already.

    ``repeats``: how often a disturbed run is repeated. ``one_service``: rayctl's service stays up
    during the peers' runs.
    """

    problems: Sequence[tuple[str, str, int]]
    frameworks: Sequence[str]
    budget_s: float
    seed: int = 0
    repeats: int = 2
    again: bool = False
    one_service: bool = False


class Runner:
    """Goes through a plan and appends a line per run; what was appended stays, whatever happens next."""

    def __init__(self, plan: Plan, layout: Layout, cores: frozenset[int]) -> None:
        self._plan = plan
        self._layout = layout
        self._cores = cores
        self._session = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
        self._service: Service | None = None
        self._served: set[str] = set()

    def run(self) -> None:
        """Run all that has no result yet."""
        for name in self._plan.frameworks:  # a peer that cannot be installed is known before an hour has passed
            ensure_venv(FRAMEWORKS[name].venv, self._layout)
        done = set() if self._plan.again else {_key(line) for line in read_lines(self._layout.results)}
        try:
            for kind, task, split in self._plan.problems:
                problem = (
                    tables.prepare(task, split, self._layout) if kind == TABLES else series.prepare(task, self._layout)
                )
                for name in self.order(problem):
                    if self._identity(problem, FRAMEWORKS[name]) not in done:
                        self._until_undisturbed(problem, FRAMEWORKS[name])
        finally:
            self._stop_service()

    def order(self, problem: Problem) -> list[str]:
        """Return the frameworks for a problem in an order of its own, so that drift of the machine hits all alike.

        The order of all is drawn and then reduced, so that it does not depend on who takes part today.
        """
        names = sorted(FRAMEWORKS)
        random.Random(f"{self._plan.seed}/{problem.key}").shuffle(names)
        return [name for name in names if name in self._plan.frameworks and problem.kind in FRAMEWORKS[name].kinds]

    def _identity(self, problem: Problem, framework: Framework) -> tuple[Any, ...]:
        return framework.name, problem.key, self._budget_s(framework), (problem.sha256 or {})["train"]

    def _until_undisturbed(self, problem: Problem, framework: Framework) -> None:
        for attempt in range(self._plan.repeats + 1):
            try:
                line = self._once(problem, framework, attempt)
            except ServiceFailed as error:
                line = self._line(problem, framework, attempt, Measured.nothing(str(error)), {})
            append_line(self._layout.results, line)
            _tell(line)
            if line["others_cores"] <= MAX_OTHERS_CORES:
                return

    def _once(self, problem: Problem, framework: Framework, attempt: int) -> dict[str, Any]:
        plan, layout = self._plan, self._layout
        folder, data = self._folder(problem, framework, attempt), layout.data(problem.key)
        limit_s = KILL_FACTOR * plan.budget_s + KILL_ALLOWANCE_S
        if not framework.has_budget:
            limit_s = max(limit_s, UNBUDGETED_LIMIT_S)
        options = dict(framework.options)
        with self._serving(problem, framework) as service:
            if service is not None:
                options |= {"url": service.url, "token_file": service.token_file}
            measured, said = run_adapter(
                ensure_venv(framework.venv, layout), HERE / "adapters" / framework.script, problem,
                {"train": data / "train.parquet", "test": data / "test.parquet"}, folder, self._cores,
                plan.budget_s, limit_s, plan.seed + problem.split, options, service,
            )  # fmt: skip
        return self._line(problem, framework, attempt, measured, said)

    def _line(
        self, problem: Problem, framework: Framework, attempt: int, measured: Measured, said: Mapping[str, Any]
    ) -> dict[str, Any]:
        folder = self._folder(problem, framework, attempt)
        ours = framework.name == OURS
        return {
            "framework": framework.name, "kind": problem.kind, "task": problem.task, "split": problem.split,
            "budget_s": self._budget_s(framework), "session": self._session, "attempt": attempt,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "data_sha256": problem.sha256,
            "warm_service": ours, "service_kept": ours and self._plan.one_service,
            "disturbed": measured.others_cores > MAX_OTHERS_CORES, "cores": len(self._cores),
            "predictions": str((folder / "predictions.parquet").relative_to(self._layout.root)),
            **asdict(measured), **_said(said, measured),
        }  # fmt: skip

    def _folder(self, problem: Problem, framework: Framework, attempt: int) -> Path:
        name = f"{framework.name}-{problem.key}-{self._budget_s(framework):g}-{self._session}-{attempt}"
        return self._layout.runs / name

    def _budget_s(self, framework: Framework) -> float:
        """Seconds, 0 for a framework that knows no budget and is run once for all."""
        return self._plan.budget_s if framework.has_budget else 0.0

    @contextmanager
    def _serving(self, problem: Problem, framework: Framework) -> Iterator[Service | None]:
        """Have a warm service for rayctl, and none for others.

        An idle service takes about 0.15 of a core, which would be taken from the peers; so it is stopped after each run
        unless asked otherwise. A service never sees the same data twice: finished work of an earlier run could help it.
        """
        if framework.name != OURS:
            yield None
            return
        if problem.key in self._served:
            self._stop_service()
        if self._service is None:
            service = Service(self._cores, clean_environment(is_ours=True))
            try:
                service.start()
            except BaseException:
                service.stop()  # also when the benchmark is interrupted while it starts
                raise
            self._service = service
        self._served.add(problem.key)
        try:
            yield self._service
        finally:
            if not self._plan.one_service:
                self._stop_service()

    def _stop_service(self) -> None:
        if self._service is not None:
            self._service.stop()
            self._service = None
            self._served.clear()


def _said(report: Mapping[str, Any], measured: Measured) -> dict[str, Any]:
    """Return the adapter's own part of a line; its seconds count only if its process ended well."""
    ended_well = measured.state == "ok"
    return {
        "fit_s": report.get("fit_s") if ended_well else None,
        "predict_s": report.get("predict_s") if ended_well else None,
        "versions": report.get("versions", {}),
        "settings": report.get("settings", {}),
        "notes": report.get("notes", {}),
    }


def _key(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return line["framework"], f"{line['task']}-s{line['split']}", line["budget_s"], line["data_sha256"]["train"]


def _tell(line: Mapping[str, Any]) -> None:
    fit = "-" if line["fit_s"] is None else f"{line['fit_s']:.1f}"
    width = min(200, shutil.get_terminal_size((160, 20)).columns)
    text = (
        f"{line['task']:<18} s{line['split']} {line['framework']:<17} {line['state']:<6} fit {fit:>6} s, "
        f"process {line['wall_s']:6.1f} s, CPU {line['cpu_s']:6.1f} s, peak {line['peak_rss'] / 1e9:4.1f} GB, "
        f"others {line['others_cores']:.2f} cores {line['reason']}"
    )
    print(text[: max(width, 120)], flush=True)
