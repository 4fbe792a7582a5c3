from __future__ import annotations

from pathlib import Path

import pytest

from rayctl.errors import Conflict
from rayctl.selfhost import raycmd
from rayctl.selfhost.layout import Layout
from rayctl.selfhost.machine import Machine, object_store_bytes, worker_memory_bytes
from rayctl.selfhost.options import UpOptions
from rayctl.selfhost.upfile import UpFile

HOME = Path("/home/x/.rayctl")
LAYOUT = Layout.of(HOME, {})
SPEC = raycmd.HeadSpec(6390, 10001, 8265, Path("/t/rayctl-0a1b2c3d"), 2, 16_000_000_000, 500_000_000)
OWN = raycmd.Auth("token", str(LAYOUT.ray_token))


def test_head_command_line() -> None:
    argv = raycmd.head_argv("python", SPEC)
    assert argv[:6] == ["python", "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    for option in (
        "--port=6390",
        "--node-ip-address=127.0.0.1",
        "--dashboard-host=127.0.0.1",
        "--dashboard-agent-listen-port=0",
        "--min-worker-port=0",
        "--max-worker-port=0",
        "--temp-dir=/t/rayctl-0a1b2c3d",
        "--num-cpus=2",
        "--memory=16000000000",
        "--object-store-memory=500000000",
        "--ray-client-server-port=10001",
        "--disable-usage-stats",
    ):
        assert option in argv


def test_long_temp_dir_is_refused() -> None:
    with pytest.raises(ValueError, match="39"):
        raycmd.HeadSpec(1, 2, 3, Path("/t/" + "x" * 37), 1, 1, 1)


def test_head_environment() -> None:
    dirty = {
        "PATH": "/bin",
        "RAY_ADDRESS": "elsewhere:1",
        "RAY_AUTH_TOKEN": "secret",
        "RAY_TMPDIR": "/x",
        "RAYCTL_PART": "ray-other",
        "RAYCTL_MAX_RUNNING": "3",
    }
    env = raycmd.head_env(LAYOUT, dirty, OWN, 2)
    assert env["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert env["RAY_num_workers_soft_limit"] == "5"
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("token", str(HOME / "ray_token"))
    assert env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] == "0"
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["GRPC_ENABLE_FORK_SUPPORT"] == "false"
    assert env["RAYCTL_HOME"] == str(HOME)
    assert env["RAYCTL_MAX_RUNNING"] == "3"
    assert f"RAYCTL_PART={env['RAYCTL_PART']}" == raycmd.head_marker(LAYOUT)
    assert not {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_TMPDIR"} & env.keys()
    assert "secret" not in env.values()


@pytest.mark.parametrize(
    ("environ", "attached", "mode", "file"),
    [
        ({}, False, "token", str(HOME / "ray_token")),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/other"}, False, "token", str(HOME / "ray_token")),
        ({"RAY_AUTH_MODE": "disabled"}, False, "disabled", None),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/other"}, True, "token", "/other"),
        ({}, True, None, None),
    ],
)
def test_auth(environ: dict[str, str], attached: bool, mode: str | None, file: str | None) -> None:
    assert raycmd.auth_of(LAYOUT, environ, attached=attached) == raycmd.Auth(mode, file)


def test_disabled_auth_drops_a_token_path() -> None:
    environ = {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/other"}
    env = raycmd.head_env(LAYOUT, environ, raycmd.auth_of(LAYOUT, environ), 1)
    assert env["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN_PATH" not in env


def test_resident_environment() -> None:
    environ = {"RAY_AUTH_TOKEN": "secret"}
    ours = raycmd.resident_env(LAYOUT, environ, OWN, raycmd.local_driver_env())
    assert ours["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_AUTH_TOKEN" not in ours
    theirs = raycmd.resident_env(LAYOUT, environ, raycmd.Auth(None, None), {}, attached=True)
    assert "secret" in theirs.values()
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in theirs


def test_resident_command_line() -> None:
    given = {"gcs_address": "127.0.0.1:6390", "http_port": 8000, "status_file": Path("/s")}
    assert raycmd.resident_argv("python", ready_file=Path("/r"), **given)[-1] == "--ready-file=/r"  # type: ignore[arg-type]
    assert raycmd.resident_argv("python", ready_file=None, **given)[-1] == "--status-file=/s"  # type: ignore[arg-type]


def test_public_environment() -> None:
    up = UpFile(home="/h", http_url="http://127.0.0.1:8000", ray_auth_mode="token")
    up.ray_token_file, up.token_file = str(HOME / "ray_token"), str(HOME / "token")
    up.ray_client_address = "ray://127.0.0.1:10001"
    values = raycmd.public_env(up.to_dict())
    assert values["RAYCTL_SERVER"] == up.http_url
    assert values["RAYCTL_TOKEN_FILE"] == up.token_file
    assert values["RAY_AUTH_TOKEN_PATH"] == up.ray_token_file
    assert values["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_ADDRESS" not in values
    assert raycmd.public_env(up.to_dict(), ray_address=True)["RAY_ADDRESS"] == up.ray_client_address


def test_sizes() -> None:
    gib = 1024**3
    assert object_store_bytes(Machine(2, 64 * gib, 32 * gib)) == 2_000_000_000
    assert object_store_bytes(Machine(2, 8 * gib, 2 * gib)) == gib
    assert object_store_bytes(Machine(2, 8 * gib, 0)) >= 80 * 1024**2
    assert worker_memory_bytes(Machine(2, 10 * gib, gib)) == 7 * gib
    measured = Machine.measure()
    assert measured.cpus >= 1
    assert measured.memory > 0


def test_container_limits_count(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1000000000\n")
    limited = Machine.measure(tmp_path)
    assert (limited.cpus, limited.memory) == (1, 1_000_000_000)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert Machine.measure(tmp_path).memory > 1_000_000_000


def test_options_that_differ_are_refused() -> None:
    running = UpFile(home="/h", options={"num_cpus": 2, "port": 8000})
    UpOptions().check_running(running)
    UpOptions(num_cpus=2, port=8000).check_running(running)
    with pytest.raises(Conflict, match="--num-cpus is 2, not 4"):
        UpOptions(num_cpus=4).check_running(running)
    with pytest.raises(Conflict, match="--address"):
        UpOptions(address="127.0.0.1:6379").check_running(running)


def test_wanted_ports() -> None:
    wanted = {want.purpose: want for want in UpOptions(port=9000).wanted_ports()}
    assert (wanted["http"].port, wanted["http"].explicit) == (9000, True)
    assert not wanted["dashboard"].explicit
    assert [want.purpose for want in UpOptions(address="h:1").wanted_ports()] == ["http"]
