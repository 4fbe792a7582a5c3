"""Watching a process: what is measured, how a failure reads, and that nothing outlives its limit."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.quality.layout import Problem
from tests.benchmarks.quality.measure import Measured, run_adapter

PROBLEM = Problem("tables", "toy", 0, "binary", "roc_auc", "y", 4, 1, ("a", "b"))


def run(folder: Path, code: str, limit_s: float = 30.0) -> tuple[Measured, dict[str, Any]]:
    """Run a few lines as an adapter."""
    script = folder / "adapter.py"
    script.write_text("import json, os, subprocess, sys, time\njob = json.load(open(sys.argv[1]))\n" + code)
    return run_adapter(
        Path(sys.executable), script, PROBLEM, {"train": folder / "train", "test": folder / "test"}, folder / "run",
        frozenset([min(os.sched_getaffinity(0))]), 1.0, limit_s, 0, {}, None,
    )  # fmt: skip


def test_cpu_memory_and_the_report_of_a_run_are_kept(tmp_path: Path) -> None:
    code = "block = bytearray(200_000_000)\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    measured, said = run(tmp_path, code + "json.dump({'fit_s': 1.5}, open(job['report'], 'w'))\n")
    assert measured.state == "ok"
    assert said == {"fit_s": 1.5}
    assert measured.cpu_s >= 0.5
    assert measured.peak_rss > 200_000_000


def test_a_run_is_pinned_and_sees_neither_thread_counts_nor_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    code = "found = [len(os.sched_getaffinity(0)), os.environ.get('OMP_NUM_THREADS'), os.environ.get('RAY_ADDRESS')]\n"
    _, said = run(tmp_path, code + "json.dump({'found': found}, open(job['report'], 'w'))\n")
    assert said["found"] == [1, None, None]


def test_a_crash_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    measured, said = run(tmp_path, "sys.exit('no more')\n")
    assert (measured.state, measured.reason, said) == ("failed", "exit code 1: no more", {})


def test_an_end_without_a_report_is_a_failure(tmp_path: Path) -> None:
    assert run(tmp_path, "pass\n")[0].state == "failed"


def test_a_hanging_run_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    code = "child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    code += "open(os.path.dirname(job['report']) + '/child', 'w').write(str(child.pid))\ntime.sleep(60)\n"
    measured, _ = run(tmp_path, code, limit_s=2.0)
    assert measured.state == "killed"
    assert measured.wall_s < 20
    child = Path(f"/proc/{(tmp_path / 'run' / 'child').read_text()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"
