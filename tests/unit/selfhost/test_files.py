from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from rayctl.clock import format_duration
from rayctl.errors import DeadlineExceeded, Unavailable
from rayctl.kube.calls import Call
from rayctl.selfhost import logs
from rayctl.selfhost.layout import MAX_TEMP_DIR_BYTES, Layout
from rayctl.selfhost.options import UpOptions
from rayctl.selfhost.supervisor import Supervisor
from rayctl.selfhost.turns import NOBODY, Mirror
from rayctl.selfhost.upfile import (
    Report,
    UpFile,
    ensure_private_dir,
    ensure_token,
    file_lock,
    follow_file,
    read_up,
    write_json,
)
from rayctl.state.turn import Turn, read_turn
from tests.full_disk import no_room


def test_up_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    assert read_up(path) is None
    up = UpFile(home=str(tmp_path), state="ready", ports={"http": 8000})
    write_json(path, up.to_dict())
    assert read_up(path) == up
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["up.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"home": 1}', '{"home": "x", "version": 99}'])
def test_unusable_up_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    assert read_up(tmp_path / "up.json") is None


def test_unknown_fields_are_ignored(tmp_path: Path) -> None:
    write_json(tmp_path / "up.json", {**UpFile(home="x").to_dict(), "news": 1})
    assert read_up(tmp_path / "up.json") == UpFile(home="x")


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_does_not_end_who_reports(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "resident.json"
    report = Report(path)
    assert report.write({"state": "ready"})
    os.utime(path, (1, 1))
    with no_room():
        assert not report.write({"state": "broken"})
        assert not report.write({"state": "broken"})
    assert json.loads(path.read_text()) == {"state": "ready"}
    assert path.stat().st_mtime > 1, "it is alive, and that can be seen"
    assert report.write({"state": "broken"})
    assert json.loads(path.read_text()) == {"state": "broken"}
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert ["cannot be written" in text for text in caplog.messages] == [True, False]


def test_a_full_disk_does_not_end_the_supervisor(tmp_path: Path) -> None:
    supervisor = Supervisor(Layout.of(tmp_path), UpOptions(), {})
    supervisor._publish("starting", "")
    supervisor.layout.token.write_text("a token")
    supervisor.layout.pods_token.parent.mkdir(parents=True, exist_ok=True)
    with no_room():
        supervisor._publish("ready", "")
        supervisor._follow_tokens()
    up = read_up(supervisor.layout.up_file)
    assert up is not None
    assert up.state == "starting", "the last that could be written"
    supervisor._publish("ready", "")
    supervisor._follow_tokens()
    up = read_up(supervisor.layout.up_file)
    assert up is not None
    assert up.state == "ready"
    assert supervisor.layout.pods_token.read_text() == "a token"


def test_a_full_disk_does_not_end_the_copying_of_turns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def answer(call: Call) -> dict[str, Any]:
        token = base64.b64encode(b"a token\n").decode()
        return {"data": {"holder": "blue", "wanted": "green"} if "configmaps" in call.path else {"token": token}}

    turn, tokens = tmp_path / "turn.json", tmp_path / "token"
    mirror = Mirror(answer, "rayctl-system", turn, tokens)
    with no_room():
        mirror.try_to_look(with_tokens=True)
        mirror.try_to_look(with_tokens=True)
    assert (read_turn(turn), tokens.exists()) == (NOBODY, False)
    assert len(caplog.records) == 1
    mirror.try_to_look(with_tokens=True)
    assert (read_turn(turn), tokens.read_text()) == (Turn("blue", "green"), "a token\n")


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "up.json"
    write_json(path, UpFile(home="x").to_dict())
    stop = threading.Event()

    def write() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            write_json(path, UpFile(home="x", reason="y" * (count % 5000)).to_dict())

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert all(read_up(path) is not None for _ in range(300))
    finally:
        stop.set()
        writer.join()


def test_token_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = ensure_token(path)
    assert len(token) == 64
    assert int(token, 16)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert ensure_token(path) == token
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("\n")
    with pytest.raises(Unavailable):
        ensure_token(path)


def test_private_dir_is_closed_and_no_link(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    ensure_private_dir(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(Unavailable):
        ensure_private_dir(link)


def _hold(path: str, held: object, release: object) -> None:
    with file_lock(Path(path), 5.0):
        held.set()  # type: ignore[attr-defined]
        release.wait(20)  # type: ignore[attr-defined]


def test_lock_excludes_and_dies_with_its_process(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "lock"), held, release))
    holder.start()
    assert held.wait(20)
    waited = []
    with (
        pytest.raises(DeadlineExceeded, match="busy"),
        file_lock(tmp_path / "lock", 0.2, "busy", on_wait=lambda: waited.append(1)),
    ):
        pass
    assert waited == [1]
    holder.kill()
    holder.join(5)
    with file_lock(tmp_path / "lock", 5.0):
        pass


def test_layout_is_short_stable_and_overridable(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    layout = Layout.of(long, {})
    assert layout == Layout.of(long, {})
    assert layout.ray_temp_dir != Layout.of(tmp_path, {}).ray_temp_dir
    assert len(bytes(layout.ray_temp_dir)) <= MAX_TEMP_DIR_BYTES
    assert Layout.of(long, {"RAYCTL_RAY_TEMP_DIR": "/t/abc"}).ray_temp_dir == Path("/t/abc")
    assert Layout.of(None, {"RAYCTL_HOME": str(tmp_path)}).home == tmp_path


def test_rotate_and_tail(tmp_path: Path) -> None:
    path = tmp_path / "ray.log"
    logs.rotate(path)
    assert logs.tail(path) == ""
    path.write_text("\n".join(str(n) for n in range(100)) + "\n")
    assert logs.tail(path, 3) == "97\n98\n99"
    logs.rotate(path, larger_than=10**6)
    assert path.exists()
    logs.rotate(path)
    assert not path.exists()
    assert logs.tail(tmp_path / "ray.log.1", 1) == "99"


def test_only_ray_sessions_are_removed(tmp_path: Path) -> None:
    (tmp_path / "session_2026_1" / "logs").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2026_1")
    (tmp_path / "ray_current_cluster").write_text("127.0.0.1:1")
    (tmp_path / "mine").write_text("keep")
    logs.remove_sessions(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
    (tmp_path / "mine").unlink()
    logs.remove_sessions(tmp_path)
    assert not tmp_path.exists()
    logs.remove_sessions(tmp_path)


def test_durations() -> None:
    assert [format_duration(s) for s in (8.9, 200, 7500, 367200)] == ["8s", "3m20s", "2h05m", "4d06h"]


def test_a_copy_follows_its_file_also_when_that_is_replaced(tmp_path: Path) -> None:
    source, copy = tmp_path / "token", tmp_path / "copy"
    follow_file(source, copy)
    assert not copy.exists()
    source.write_text("one")
    follow_file(source, copy)
    before = copy.stat()
    assert (copy.read_text(), before.st_mode & 0o777) == ("one", 0o600)
    follow_file(source, copy)
    assert copy.stat().st_ino == before.st_ino
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(source)
    follow_file(source, copy)
    assert copy.read_text() == "two"
    source.unlink()
    follow_file(source, copy)
    assert copy.read_text() == "two"
