from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rayctl.selfhost import processes
from rayctl.selfhost.processes import ProcessId

# Leads a session with a child in a process group of its own, like a raylet and its workers; says the child's id.
MARK = f"rayctl-test-{os.getpid()}"  # this process's own: other tests run beside
FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else signal.SIG_DFL)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0) \
    if sys.version_info >= (3, 11) else \
    subprocess.Popen([sys.executable, "-c", "import os, time; os.setpgid(0, 0); time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def until(true: object, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.02)  # between two looks at other processes; the condition decides


@pytest.fixture
def family(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], ProcessId, int]]:
    log = tmp_path / "family.log"
    arguments = getattr(request, "param", [])
    popen, leader = processes.spawn(
        [sys.executable, "-c", FAMILY, *arguments], env=dict(os.environ, MARK=MARK), log=log, cwd=tmp_path
    )
    until(lambda: log.read_text().strip())
    child = int(log.read_text())
    yield popen, leader, child
    for pid in (popen.pid, child):
        found = processes.identify(pid)
        if found is not None and found.start_time >= leader.start_time:
            os.kill(pid, 9)
    popen.wait(5)


def test_identity_survives_and_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as popen:
        known = processes.identify(popen.pid)
        assert known is not None
        assert known.alive()
        assert ProcessId.from_dict(known.to_dict()) == known
        assert not replace(known, start_time=known.start_time - 1).alive(), "another process had this id before"
        popen.communicate(b"\n")
    assert not known.alive()
    assert processes.identify(popen.pid) is None


def test_zombie_is_not_alive() -> None:
    popen = subprocess.Popen([sys.executable, "-c", ""])
    known = processes.identify(popen.pid)
    assert known is not None
    until(lambda: not known.alive())
    assert popen.wait(5) == 0


@pytest.mark.parametrize("document", [None, {}, {"pid": 1}, {"pid": "x", "start_time": 1, "pgid": 1}])
def test_unusable_records(document: dict[str, object] | None) -> None:
    assert ProcessId.from_dict(document) is None


def test_spawned_process_has_its_own_session(family: tuple[subprocess.Popen[bytes], ProcessId, int]) -> None:
    popen, leader, _ = family
    assert os.getsid(popen.pid) == popen.pid == leader.pgid


def test_strays_are_found_by_session_marker_and_path(
    family: tuple[subprocess.Popen[bytes], ProcessId, int], tmp_path: Path
) -> None:
    _, leader, child = family
    both = {leader.pid, child}
    assert {each.pid for each in processes.stray(sessions=[leader])} == both
    assert {each.pid for each in processes.stray(marker=f"MARK={MARK}")} == both
    assert processes.stray(marker=f"MARK={MARK}"[:-1]) == []
    assert processes.stray(sessions=[replace(leader, start_time=leader.start_time - 5)]) == [], "the id was reused"
    folder = tmp_path / "temp"
    with subprocess.Popen([sys.executable, "-c", "input()", f"--x={folder}/y"], stdin=subprocess.PIPE) as popen:
        assert [each.pid for each in processes.stray(path=folder)] == [popen.pid]
        assert processes.stray(path=tmp_path / "tem") == []
        popen.communicate(b"\n")


def test_own_session_is_spared() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    assert me.pid not in {each.pid for each in processes.stray(sessions=[replace(me, pid=os.getsid(0), start_time=0)])}


@pytest.mark.parametrize("family", [[], ["stubborn"]], indirect=True)
def test_clean_up_ends_everything(family: tuple[subprocess.Popen[bytes], ProcessId, int]) -> None:
    popen, leader, child = family
    grandchild = processes.identify(child)
    assert processes.clean_up(leader, path=None, marker=None, grace_s=0.3, reap=popen.poll) == []
    assert not leader.alive()
    assert grandchild is not None
    assert not grandchild.alive()


def test_group_outlives_its_leader(family: tuple[subprocess.Popen[bytes], ProcessId, int]) -> None:
    popen, leader, child = family
    popen.kill()
    popen.wait(5)
    assert [each.pid for each in processes.stray(sessions=[leader])] == [child]
    assert processes.clean_up(leader, path=None, marker=None, grace_s=0.1, reap=popen.poll) == []
    until(lambda: processes.stray(sessions=[leader]) == [])


def test_end_all_reports_what_it_cannot_end() -> None:
    me = processes.identify(os.getpid())
    assert me is not None
    ghost = replace(me, start_time=me.start_time + 1)
    assert processes.end_all(lambda: [ghost], timeout_s=0.1) == [ghost]
