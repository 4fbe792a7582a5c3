"""The audit log on a disk without room: no half line, no broken chain, and the gap is told."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rayctl.embedded.apiserver.access.tokens import ADMIN
from rayctl.embedded.apiserver.audit import Audit, verify
from rayctl.embedded.apiserver.requests import Info, Request


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size: what a full disk is to a writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def note(audit: Audit, name: str) -> None:
    request = Request.make("POST", "/api/v1/namespaces/default/configmaps", {}, b"")
    info = Info(verb="create", path=request.path, resource="configmaps", name=name)
    audit.note(request, info, ADMIN, 201, 1_700_000_000.0, 1_700_000_000.1)


@pytest.mark.security("S18")
def test_what_could_not_be_written_is_counted_and_the_chain_holds(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(path)
    note(audit, "a")
    for room in (0, 40):  # nothing fits; a part of a line fits
        size = path.stat().st_size
        with files_end_at(size + room):
            note(audit, "lost-1")
            note(audit, "lost-2")
        assert path.stat().st_size == size
        note(audit, "b")
    audit.close()
    again = Audit(path)
    note(again, "c")
    again.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("name") or line["missed"] for line in lines] == ["a", 2, "b", 2, "b", "c"]
    assert verify(path) == 6
