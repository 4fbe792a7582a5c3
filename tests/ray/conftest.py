"""One real Ray cluster of two CPUs for all tests of this folder, on loopback, with a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from rayctl.settings import ServiceSettings

# Before Ray is imported: loopback only, and no token file in the home folder of whoever runs the tests.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_num_workers_soft_limit"] = "6"  # noqa: SIM112 (Ray reads it in lower case)

import ray

from tests.ray.helpers import processes_of, wait_until


@pytest.fixture(scope="package")
def cluster() -> Iterator[Path]:
    """A local Ray cluster; gives its temp folder (short: socket paths are limited to 107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="rct-", dir="/tmp"))
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        namespace="rayctl",
        object_store_memory=300_000_000,
        log_to_driver=False,
        _temp_dir=str(folder),
    )
    yield folder
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _end_proxy() -> None:
    from rayctl.automl.port import PROXY_NAME, RAY_NAMESPACE

    try:
        ray.kill(ray.get_actor(PROXY_NAME, namespace=RAY_NAMESPACE))
    except ValueError:
        return
    wait_until(lambda: not processes_of("ProxyActor") and not processes_of("TrainerActor"))


@pytest.fixture(scope="module")
def shared_proxy(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One proxy with default settings for all tests of a module that need nothing special (its workers stay warm)."""
    from rayctl.automl.ensure import ensure_proxy

    _end_proxy()
    yield ensure_proxy(ServiceSettings(home=tmp_path_factory.mktemp("home")))
    _end_proxy()


@pytest.fixture
def start_proxy(cluster: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start the proxy with settings of the test's own; the one before is ended first."""
    from rayctl.automl.ensure import ensure_proxy

    def start(home: Path | None = None, **settings: Any) -> Any:
        _end_proxy()
        # Warming takes longer than most of these tests do.
        return ensure_proxy(ServiceSettings(home=home or tmp_path, **{"warm_workers": False, **settings}))

    yield start
    _end_proxy()


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """A real table, small enough for a fold to take milliseconds."""
    frame: pd.DataFrame = load_breast_cancer(as_frame=True).frame
    return frame.iloc[:240, [0, 1, 2, 3, 4, 5, 6, 7, 30]]
