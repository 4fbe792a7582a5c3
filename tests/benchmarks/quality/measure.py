"""Run one adapter as a fresh process on the allotted cores, watch it, and end it when it takes far too long."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .layout import Problem, write_json
from .processes import MARK, Tree, busy_s
from .service import Service

__all__ = ["Measured", "clean_environment", "run_adapter"]

SAMPLE_S = 0.25
# Variables that tell a library how many threads to take. Unset for all alike: every framework decides for itself, as it
# does at its user's, and sees two cores.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "OMP_THREAD_LIMIT")


@dataclass(frozen=True)
class Measured:
    """What was seen from outside. Seconds, bytes, and cores (CPU seconds of others per second of wall).

    ``state``: ok, failed or killed. ``idle_rss``: of rayctl's service before the run, 0 for others.
    """

    state: str
    reason: str
    wall_s: float
    cpu_s: float
    peak_rss: int
    peak_private: int
    idle_rss: int
    idle_private: int
    others_cores: float
    load_before: float

    @classmethod
    def nothing(cls, reason: str) -> Measured:
        """Return what is known of a run that never started."""
        return cls("failed", reason, 0.0, 0.0, 0, 0, 0, 0, 0.0, os.getloadavg()[0])


def clean_environment(*, is_ours: bool) -> dict[str, str]:
    """Return the environment for a framework: no Ray cluster, no thread counts, nothing of rayctl's.

    ``is_ours`` keeps PYTHONPATH, by which another checkout of rayctl can be measured.
    """
    prefixes = ("RAY_", "RAYCTL_", "VIRTUAL_ENV") + (() if is_ours else ("PYTHON",))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(prefixes) and key not in THREADS}
    return kept | {"PYTHONWARNINGS": "ignore"}


def run_adapter(
    python: Path, script: Path, problem: Problem, paths: dict[str, Path], folder: Path, cores: frozenset[int],
    budget_s: float, limit_s: float, seed: int, options: dict[str, Any], service: Service | None,
) -> tuple[Measured, dict[str, Any]]:  # fmt: skip
    """Run one adapter; return what was measured and its own report (empty when it wrote none).

    ``paths``: train and test. ``folder`` gets the job, the predictions, the report and the log. ``limit_s``: seconds of
    the whole process after which it and all that it started are killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Ray looks for running clusters in its temporary folder; a fresh short one hides everybody else's.
    scratch = Path(tempfile.mkdtemp(prefix="rq-"))
    tree = Tree(f"run-{uuid.uuid4().hex}")
    environment = clean_environment(is_ours=service is not None) | {MARK: tree.mark, "RAY_TMPDIR": str(scratch)}
    job = {
        **{name: getattr(problem, name) for name in ("problem", "metric", "target", "horizon", "season", "frequency")},
        "classes": list(problem.classes), "train": str(paths["train"]), "test": str(paths["test"]),
        "budget_s": budget_s, "seed": seed, "cpus": len(cores), "options": options, "folder": str(scratch),
        "predictions": str(folder / "predictions.parquet"), "report": str(folder / "report.json"),
    }  # fmt: skip
    write_json(folder / "job.json", job)
    try:
        command = [str(python), str(script), str(folder / "job.json")]
        measured = _watch(command, environment, scratch, folder / "log.txt", tree, cores, limit_s, service)
    finally:
        tree.kill()  # Ray daemons and worker pools that outlived their run
        shutil.rmtree(scratch, ignore_errors=True)
    report = folder / "report.json"
    said = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
    if measured.state == "ok" and not said:
        measured = Measured(**{**asdict(measured), "state": "failed", "reason": "ended without a report"})
    return measured, said


def _watch(
    command: list[str], environment: dict[str, str], cwd: Path, log: Path, tree: Tree, cores: frozenset[int],
    limit_s: float, service: Service | None,
) -> Measured:  # fmt: skip
    load_before = os.getloadavg()[0]
    idle = service.tree.sample() if service else None
    idle_cpu_s, idle_rss, idle_private = (idle.cpu_s, idle.rss, idle.private) if idle else (0.0, 0, 0)
    peak_rss = peak_private = 0
    cpu_s = 0.0
    killed = False
    own_s, busy_before_s, children_s = time.process_time(), busy_s(cores), _children_s()
    began = time.perf_counter()
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )  # fmt: skip
        try:
            while process.poll() is None:
                time.sleep(SAMPLE_S)
                usage = tree.sample()
                cpu_s, rss, private = usage.cpu_s, usage.rss, usage.private
                if service:
                    of_service = service.tree.sample()
                    rss, private = rss + of_service.rss, private + of_service.private
                peak_rss, peak_private = max(peak_rss, rss), max(peak_private, private)
                if time.perf_counter() - began > limit_s:
                    killed = True
                    tree.kill()
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    wall_s = time.perf_counter() - began
    # Sampling misses processes that live shorter than a sample; the kernel's account misses those that left the family.
    cpu_s = max(cpu_s, _children_s() - children_s)
    cpu_s += service.tree.sample().cpu_s - idle_cpu_s if service else 0.0
    others_s = busy_s(cores) - busy_before_s - cpu_s - (time.process_time() - own_s)
    if killed:
        state, reason = "killed", f"took more than {limit_s:.0f} s"
    elif process.returncode != 0:
        state, reason = "failed", f"exit code {process.returncode}: {_last_line(log)}"
    else:
        state, reason = "ok", ""
    return Measured(
        state, reason, wall_s, cpu_s, peak_rss, peak_private, idle_rss, idle_private,
        max(0.0, others_s / wall_s), load_before,
    )  # fmt: skip


def _children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
