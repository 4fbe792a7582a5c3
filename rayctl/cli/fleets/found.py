"""What commands about fleets read from the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rayctl.cli.kubernetes import Kube
from rayctl.errors import InvalidRequest
from rayctl.kube.kinds import FLEETS, RAY_CLUSTERS, REPLICA_SETS

__all__ = ["Found", "fleet_name", "read", "read_documents"]

Document = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A fleet (None: it is not there), and the sets and clusters of its namespace."""

    fleet: Document | None
    sets: list[Document]
    clusters: list[Document]


def fleet_name(word: str) -> str:
    """Return the name in ``fleet/NAME``, ``rcf/NAME`` or ``NAME``.

    Raises:
        InvalidRequest: It names something else.
    """
    kind, slash, name = word.rpartition("/")
    known = (
        "",
        "fleet",
        "fleets",
        "rcf",
        "rayclusterfleet",
        "rayclusterfleets",
        "rayclusterfleet.orchestration.aibrix.ai",
    )
    if kind.lower() not in known or not name or (slash and not kind):
        raise InvalidRequest(
            f"{word!r} does not name a fleet.",
            code="not-a-fleet",
            hint="Write fleet/NAME; `rayctl get rcf` lists them.",
        )
    return name


def read(kube: Kube, name: str, namespace: str | None = None, must_exist: bool = True) -> Found:
    """Read a fleet and what belongs to it. ``namespace`` None: the command's.

    Raises:
        ObjectNotFound: It is not there, and must be.
    """
    where = namespace or kube.namespace
    fleet = kube.get(FLEETS, name, where) if must_exist else kube.find(FLEETS, name, where)
    return Found(fleet, kube.list(REPLICA_SETS, where), kube.list(RAY_CLUSTERS, where))


def read_documents(path: Path) -> list[Mapping[str, Any]]:
    """Return the documents of a YAML or JSON file; ``-``: of the standard input.

    Raises:
        InvalidRequest: It cannot be read, or is not made of Kubernetes objects.
    """
    import sys

    import yaml

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        documents = [item for item in yaml.safe_load_all(text) if item is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}", code="unreadable-file") from error
    for item in documents:
        if not isinstance(item, Mapping) or not item.get("kind") or not (item.get("metadata") or {}).get("name"):
            raise InvalidRequest(f"{path} has a document that is no Kubernetes object.", code="unreadable-file")
    return documents
