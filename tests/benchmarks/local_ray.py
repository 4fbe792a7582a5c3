"""A Ray cluster of this machine's own with the AutoML service on it, for benchmarks; imported before Ray is."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
os.environ["RAY_num_workers_soft_limit"] = "6"  # noqa: SIM112 (Ray reads it in lower case)

import ray

__all__ = ["cluster"]


@contextmanager
def cluster() -> Iterator[Any]:
    """A local cluster with a warm proxy; the driver stays, so its workers stay warm."""
    from rayctl.automl.ensure import ensure_proxy
    from rayctl.settings import ServiceSettings

    folder = Path(tempfile.mkdtemp(prefix="rcb-"))
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, namespace="rayctl", log_to_driver=False,
        object_store_memory=500_000_000, _temp_dir=str(folder / "r"),
    )  # fmt: skip
    try:
        yield ensure_proxy(ServiceSettings(home=folder / "home"))
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
