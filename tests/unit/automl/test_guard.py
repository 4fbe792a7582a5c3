"""Time and memory caps of a task, in this very process."""

from __future__ import annotations

import _thread
import importlib
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from rayctl.automl.guard import TimeCapReached, limited


def test_a_sleeping_model_is_interrupted() -> None:
    began = time.monotonic()
    with pytest.raises(TimeCapReached), limited(0.05, None):
        time.sleep(30)  # is interrupted: the test is that it is
    assert time.monotonic() - began < 5


def test_a_spinning_model_that_catches_exceptions_is_interrupted() -> None:
    def spin() -> None:
        while True:
            try:
                sum(range(1000))
            except Exception:  # noqa: S112 (what a careless model does)
                continue

    with pytest.raises(TimeCapReached), limited(0.05, None):
        spin()


def test_afterwards_nothing_is_left_behind() -> None:
    handler, data = signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_DATA)
    with limited(5.0, 1 << 30):
        pass
    assert signal.getsignal(signal.SIGALRM) == handler
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0
    assert resource.getrlimit(resource.RLIMIT_DATA) == data


def test_a_model_that_eats_memory_gets_a_memory_error_and_the_process_goes_on() -> None:
    with pytest.raises(MemoryError), limited(None, 64 * 2**20):
        np.ones(512 * 2**20 // 8)
    assert np.ones(16 * 2**20).sum() == 16 * 2**20


def test_what_fits_is_not_disturbed() -> None:
    with limited(10.0, 256 * 2**20):
        assert np.ones(8 * 2**20).sum() == 8 * 2**20


def slow_module(folder: Path, seconds: float) -> str:
    """Write a module whose import takes a while; returns its name."""
    name = f"slow_module_{uuid4().hex}"
    busy = f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end:\n    pass\nready = True\n"
    (folder / f"{name}.py").write_text(busy)
    return name


def test_a_time_cap_waits_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = slow_module(tmp_path, 0.6)

    def work() -> None:
        importlib.import_module(name)
        while True:
            pass

    with pytest.raises(TimeCapReached), limited(0.1, None):
        work()
    assert sys.modules[name].ready


def test_a_cancellation_waits_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    name = slow_module(tmp_path, 0.6)
    timer = threading.Timer(0.1, _thread.interrupt_main)

    def work() -> None:
        timer.start()
        importlib.import_module(name)
        while True:
            pass

    before = signal.getsignal(signal.SIGINT)  # ignored where the tests run in the background of a shell
    with pytest.raises(KeyboardInterrupt), limited(None, None):
        work()
    assert sys.modules[name].ready
    assert signal.getsignal(signal.SIGINT) is before


def test_a_model_that_swallows_every_interruption_is_ended_with_its_process() -> None:
    code = (
        "from rayctl.automl import guard\n"
        "guard._ASK_AGAIN_S = 0.02\n"
        "with guard.limited(0.02, None):\n"
        "    while True:\n"
        "        try:\n"
        "            sum(range(1000))\n"
        "        except BaseException:\n"
        "            print('no', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout.split() == ["no"] * 4
