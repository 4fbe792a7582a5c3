from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rayctl.selfhost.resident import PATIENCE, Resident
from rayctl.selfhost.services import Problem


class FakeServices:
    http_port = 8000

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.problem: Problem | None = None
        self.repairs = True

    def preload(self) -> None: ...

    def connect(self) -> None:
        self.calls.append("connect")

    def order(self) -> list[tuple[str, str]]:
        return [("gateway", "http"), ("proxy", "control_plane")]

    def install(self, part: str) -> None:
        self.calls.append(part)
        if not self.repairs:
            raise RuntimeError("no")
        self.problem = None

    def check(self) -> None:
        if self.problem is not None:
            raise self.problem

    def remove(self) -> None: ...


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def resident(services: FakeServices, tmp_path: Path) -> Resident:
    made = Resident(services, tmp_path / "resident.json")
    made.connect()
    made.start()
    services.calls.clear()
    return made


def report(tmp_path: Path) -> dict[str, object]:
    return dict(json.loads((tmp_path / "resident.json").read_text()))


def test_start_installs_and_reports(services: FakeServices, tmp_path: Path) -> None:
    made = Resident(services, tmp_path / "resident.json")
    made.connect()
    made.start()
    assert services.calls == ["connect", "gateway", "proxy"]
    seen = report(tmp_path)
    assert (seen["state"], seen["pid"]) == ("ready", os.getpid())
    assert list(seen["steps"]) == ["connected", "http", "control_plane"]  # type: ignore[call-overload]


def test_one_missed_answer_is_no_outage(services: FakeServices, resident: Resident, tmp_path: Path) -> None:
    services.problem = Problem("gateway", "slow")
    resident.look()
    assert report(tmp_path)["state"] == "ready"
    resident.look()
    assert report(tmp_path) | {"at": 0} == report(tmp_path) | {"at": 0, "state": "broken", "reason": "slow"}
    services.problem = None
    resident.look()
    assert report(tmp_path)["state"] == "ready"
    assert services.calls == []


def test_repairs_after_some_patience(services: FakeServices, resident: Resident, tmp_path: Path) -> None:
    services.problem = Problem("gateway", "away")
    for _ in range(PATIENCE):
        resident.look()
    assert services.calls == ["gateway"]
    resident.look()
    assert report(tmp_path)["state"] == "ready"


def test_what_is_gone_for_good_is_repaired_at_once(services: FakeServices, resident: Resident) -> None:
    services.problem = Problem("proxy", "gone", for_good=True)
    resident.look()
    assert services.calls == ["proxy"]


def test_failed_repair_is_tried_again(services: FakeServices, resident: Resident, tmp_path: Path) -> None:
    services.problem, services.repairs = Problem("proxy", "gone", for_good=True), False
    resident.look()
    assert report(tmp_path)["state"] == "broken"
    services.repairs = True
    resident.look()
    resident.look()
    assert report(tmp_path)["state"] == "ready"
