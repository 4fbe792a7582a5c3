"""What is wrong with the cluster that a RayService asks for: what the RayCluster controller would refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rayctl.cluster.options import ClusterOptions
from rayctl.cluster.spec import parse_cluster
from rayctl.cluster.validate import check_cluster

__all__ = ["cluster_problems"]


def cluster_problems(spec: Mapping[str, Any]) -> Sequence[str]:
    """Return what is wrong with a RayClusterSpec, one sentence each; the name is the service's affair."""
    document = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "x", "uid": "x"}, "spec": spec}
    return [
        f"{problem.path.removeprefix('spec.')}: {problem.message}"
        for problem in check_cluster(parse_cluster(document), ClusterOptions())
    ]
