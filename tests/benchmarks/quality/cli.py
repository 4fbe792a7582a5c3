"""The command line of the quality benchmark."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from . import series, tables
from .layout import SERIES, TABLES, Layout
from .peers import FRAMEWORKS, ensure_venv
from .report import publish
from .runner import Plan, Runner

__all__ = ["main"]

# Tasks (None: all), splits and budget in seconds of the sizes.
SMOKE = ("telco_churn", "hpc_data", "ames", "cells", "m3_quarterly", "tourism_monthly")
SIZES: dict[str, tuple[tuple[str, ...] | None, int, float]] = {
    "smoke": (SMOKE, 1, 20.0),
    "nightly": (None, 1, 60.0),
    "release": (None, 3, 60.0),
}
KINDS = {name: TABLES for name in tables.TASKS} | {name: SERIES for name in series.COLLECTIONS}
CORES = 2


def names(text: str, known: Sequence[str]) -> list[str]:
    """Split a list with commas; every name must be known."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in found if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return found


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    it = argparse.ArgumentParser(description="Compare rayctl with its peers: same data, same cores, same budget.")
    it.add_argument("--size", choices=SIZES, default="smoke", help="tasks, splits and budget together")
    it.add_argument("--kind", choices=(TABLES, SERIES), help="only tables or only series")
    it.add_argument("--tasks", help="tasks instead of those of the size, with commas")
    it.add_argument("--splits", type=int, help="splits of each table instead of those of the size")
    it.add_argument("--budget", type=float, help="seconds instead of those of the size")
    it.add_argument("--only", help="frameworks, with commas; the others keep the results that they have")
    it.add_argument("--again", action="store_true", help="also what has a result already; the newer one counts")
    it.add_argument("--repeats", type=int, default=2, help="repeats of a run that others disturbed (default 2)")
    it.add_argument("--one-service", action="store_true", help="keep rayctl's service up while its peers run")
    it.add_argument("--work", help="folder for data, environments and results (default: below the user's cache)")
    it.add_argument("--out", help="where the report goes, without suffix (default: report, in the work folder)")
    it.add_argument("--keep", help="an earlier report (.json) whose results count where there are no new ones")
    it.add_argument("--seed", type=int, default=0, help="of the orders and the frameworks; a split adds its number")
    it.add_argument("--report-only", action="store_true", help="run nothing, score what is there")
    it.add_argument("--install-only", action="store_true", help="make the peers' environments and end")
    return it


def problems(arguments: argparse.Namespace) -> list[tuple[str, str, int]]:
    """Return (kind, task, split) in the order of running: split by split, so that an early end has whole splits."""
    of_size, splits, _ = SIZES[arguments.size]
    wanted = names(arguments.tasks, list(KINDS)) if arguments.tasks else of_size or list(KINDS)
    wanted = [task for task in wanted if arguments.kind in (None, KINDS[task])]
    found = []
    for split in range(arguments.splits or splits):
        # The series' test parts are the competitions' own, so there is one split of them.
        found += [(KINDS[task], task, split) for task in wanted if KINDS[task] == TABLES or split == 0]
    return found


def main() -> None:
    """Run what has no result yet, then write the report."""
    arguments = parser().parse_args()
    layout = Layout.of(arguments.work)
    layout.root.mkdir(parents=True, exist_ok=True)
    frameworks = names(arguments.only, list(FRAMEWORKS)) if arguments.only else list(FRAMEWORKS)
    if arguments.install_only:
        for name in frameworks:
            ensure_venv(FRAMEWORKS[name].venv, layout)
        return
    budget_s = arguments.budget or SIZES[arguments.size][2]
    wanted = problems(arguments)
    if not arguments.report_only:
        # An end from outside unwinds like any other, so that the service and the current run are ended with it.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        cores = frozenset(sorted(os.sched_getaffinity(0))[:CORES])
        plan = Plan(
            wanted, frameworks, budget_s, arguments.seed, arguments.repeats, arguments.again, arguments.one_service
        )
        try:
            Runner(plan, layout, cores).run()
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from here")
    out = Path(arguments.out) if arguments.out else layout.root / "report"
    earlier = json.loads(Path(arguments.keep).read_text(encoding="utf-8")) if arguments.keep else None
    publish(layout, [f"{task}-s{split}" for _, task, split in wanted], budget_s, out, earlier)
    print(f"report: {out}.md and {out}.json")
