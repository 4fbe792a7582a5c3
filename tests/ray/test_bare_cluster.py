"""A cluster whose Python has Ray and no rayctl: what tenants need travels with them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import rayctl
from tests.ray.wheels import wheel

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280)]

PROGRAM = """
import json, os, sys
import rayctl
tenant = json.loads(sys.argv[2])
def work():
    import rctiny
    config = rayctl.current_config()
    return config.tenant, config.setting("x"), rctiny.VERSION, os.environ["RCT_MODE"], rayctl.__file__
with rayctl.connect("auto", tenant=tenant) as connection:
    inside = connection.get(connection.submit(work))
    try:
        list(connection.automl.list())
        refusal = None
    except rayctl.errors.RayctlError as error:
        refusal = error.code
    import ray
    plain = ray.get(ray.remote(lambda: __import__("importlib.util").util.find_spec("rayctl") is None).remote())
    print(json.dumps({"inside": inside, "refusal": refusal, "nothing_there": plain}))
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def bare() -> Iterator[tuple[str, dict[str, str], Path]]:
    """Address, environment and site-packages of a Ray head whose virtual environment sees this one's packages.

    But not rayctl, which is installed editable.
    """
    folder = Path(tempfile.mkdtemp(prefix="rcb-", dir="/tmp"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "v")], check=True)
    [site] = (folder / "v" / "lib").glob("python*/site-packages")
    # A line with a path alone: the .pth files in there, which lead to rayctl, are not read.
    (site / "base.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("RAY", "PYTHONPATH"))}
    env |= {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "TMPDIR": str(folder),
    }
    port, client_port = free_port(), free_port()
    command = [str(folder / "v" / "bin" / "python"), "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false", "--num-cpus=1"]
    command += [f"--temp-dir={folder}/r", "--object-store-memory=100000000", "--memory=1000000000"]
    command += ["--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--ray-client-server-port={client_port}", "--disable-usage-stats"]
    head = subprocess.Popen(
        command,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        cwd=folder,
    )
    try:
        assert head.stdout is not None
        said = []
        for line in head.stdout:
            said.append(line)
            if "--block" in line:
                break
        else:
            raise AssertionError("the head did not start:\n" + "".join(said))
        yield f"127.0.0.1:{port}", env, site
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(head.pid, number)
            except ProcessLookupError:
                break
            try:
                head.wait(20)
            except subprocess.TimeoutExpired:
                continue
        shutil.rmtree(folder, ignore_errors=True)


Bare = tuple[str, dict[str, str], Path]


def run(bare: Bare, folder: Path, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program as a tenant with a package and a variable of its own."""
    address, env, _ = bare
    tenant = {
        "tenant": "guest",
        "settings": {"x": 5},
        "environment": {"packages": [wheel(folder, "rctiny", "1.0")], "variables": {"RCT_MODE": "guest"}},
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, address, json.dumps(tenant)],
        env=env | {"RAY_ADDRESS": address, "RAYCTL_HOME": str(folder / "home")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def test_a_cluster_with_nothing_but_ray_will_do(bare: Bare, tmp_path: Path) -> None:
    found = json.loads(run(bare, tmp_path).stdout.strip().splitlines()[-1])
    assert found["inside"][:4] == ["guest", 5, "1.0", "guest"]
    assert "py_modules" in found["inside"][4], "rayctl came in the runtime environment"
    assert found["refusal"] == "no-service"
    assert found["nothing_there"] is True


@pytest.mark.slow
def test_client_and_cluster_of_different_versions(bare: Bare, tmp_path: Path) -> None:
    """One minor step apart they work together, on the cluster's own code; beyond they say so before anything runs."""
    site = bare[2]
    major, minor = map(int, rayctl.__version__.split(".")[:2])
    shutil.copytree(Path(rayctl.__file__).parent, site / "rayctl", ignore=shutil.ignore_patterns("__pycache__"))
    init = site / "rayctl" / "__init__.py"
    text = init.read_text()
    assert f'__version__ = "{rayctl.__version__}"' in text
    near, far = f"{major}.{minor + 1}.0", f"{major}.{minor + 2}.0"
    init.write_text(text.replace(f'"{rayctl.__version__}"', f'"{near}"'))
    found = json.loads(run(bare, tmp_path).stdout.strip().splitlines()[-1])
    assert found["inside"][:4] == ["guest", 5, "1.0", "guest"]
    assert found["inside"][4] == str(init), "the cluster's own rayctl was used"
    init.write_text(text.replace(f'"{rayctl.__version__}"', f'"{far}"'))
    refused = run(bare, tmp_path, expect=1).stderr
    assert f"This process has rayctl {rayctl.__version__}, the cluster has {far}" in refused
