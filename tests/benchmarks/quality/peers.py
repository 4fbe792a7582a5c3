"""Who takes part, with which settings, and the environments that the peers live in."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .layout import HERE, SERIES, TABLES, Layout

__all__ = ["FRAMEWORKS", "OURS", "Framework", "ensure_venv", "of_kind"]

OURS = "rayctl"


@dataclass(frozen=True)
class Framework:
    """One competitor. ``venv`` None: rayctl's own environment. ``has_budget``: whether it can be told a time.

    One without a budget is fitted once for all budgets, and is killed by a limit of its own.
    """

    name: str
    title: str
    kinds: tuple[str, ...]
    script: str
    venv: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    has_budget: bool = True


def _table(name: str, title: str, script: str, venv: str, has_budget: bool = True, **options: Any) -> Framework:
    return Framework(name, title, (TABLES,), script, venv, options, has_budget)


def _series(name: str, title: str, *models: str) -> Framework:
    return Framework(name, title, (SERIES,), "run_statsforecast.py", None, {"models": models}, has_budget=False)


# Texts are given to both boosters as numbers, as in the measurements that the targets rest on; "native" hands them over
# as categories.
_CATEGORIES = "ordinal"

FRAMEWORKS: dict[str, Framework] = {
    each.name: each
    for each in (
        Framework(OURS, "rayctl", (TABLES, SERIES), "run_rayctl.py"),
        _table("autogluon_medium", "AutoGluon medium", "run_autogluon.py", "autogluon", presets="medium_quality"),
        _table("autogluon_best", "AutoGluon best", "run_autogluon.py", "autogluon", presets="best_quality"),
        _table("flaml", "FLAML", "run_flaml.py", "flaml", ensemble=False),
        _table("flaml_ensemble", "FLAML ensemble", "run_flaml.py", "flaml", ensemble=True),
        _table("catboost", "CatBoost default", "run_boosters.py", "boosters", False,
               library="catboost", categories=_CATEGORIES),
        _table("lightgbm", "LightGBM default", "run_boosters.py", "boosters", False,
               library="lightgbm", categories=_CATEGORIES),
        _series("seasonal_naive", "seasonal naive", "seasonal_naive"),
        _series("auto_ets", "AutoETS", "auto_ets"),
        _series("auto_ces", "AutoCES", "auto_ces"),
        _series("dynamic_theta", "dynamic Theta", "dynamic_theta"),
        _series("auto_theta", "AutoTheta", "auto_theta"),
        _series("median_of_three", "median of ETS, Theta, CES", "auto_ets", "dynamic_theta", "auto_ces"),
    )
}  # fmt: skip


def of_kind(kind: str) -> list[str]:
    """Names of those who take part in this kind of problem."""
    return [name for name, framework in FRAMEWORKS.items() if kind in framework.kinds]


def ensure_venv(name: str | None, layout: Layout) -> Path:
    """Return the interpreter of an environment; make it, or make it again when its pinned list has changed."""
    if name is None:
        return Path(sys.executable)
    wanted = HERE / "peers" / f"{name}.txt"
    folder = layout.venv(name)
    python, stamp = folder / "bin" / "python", folder / ".ready"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return python
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise FileNotFoundError("uv is needed to make the peers' environments")
    print(f"making the environment {name}", flush=True)
    # The same Python for all, so that no version of it decides.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", version, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(wanted)], check=True)
    stamp.write_text(digest)
    return python
