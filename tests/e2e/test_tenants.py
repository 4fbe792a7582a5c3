"""Tenants as their users meet them: the command line, Ray Client, and a search for a secret where it must not be."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Service
from tests.ray.helpers import head_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SECRET = "swordfish-90210"  # noqa: S105
PROGRAM = """
import json, sys, rayctl

def use():
    found = rayctl.secret("key")
    print("the secret is", found, rayctl.current_config())
    return rayctl.current_config().setting("depth"), len(found.get_secret_value())

def fail():
    raise RuntimeError(f"cannot use {rayctl.secret('key')}")

with rayctl.connect(sys.argv[1], tenant="pricing") as ctx:
    used = ctx.get(ctx.submit(use))
    try:
        ctx.get(ctx.submit(fail))
    except Exception as error:
        said = str(error)
    # Into a file: Ray shows here what workers print, whenever it comes.
    json.dump({"used": used, "said": said}, open("found.json", "w"))
"""


def test_a_tenants_life(service: Service) -> None:
    secret = service.folder / "pricing.key"
    secret.write_text(SECRET + "\n")
    document = {"tenant": "pricing", "settings": {"depth": 4}, "secrets": {"key": f"file:{secret}"}}
    (service.folder / "pricing.json").write_text(json.dumps(document))
    assert service.rayctl("tenant", "validate", "pricing.json").stdout.startswith("tenant pricing: valid")
    assert service.rayctl("tenant", "create", "pricing.json").stdout == "tenant pricing created (version 1)\n"
    service.rayctl("tenant", "set", "pricing", "settings.depth=6", "quota.max_running=2")
    assert service.json("tenant", "show", "pricing")["version"] == 2
    assert "cluster's environment is ready" in service.rayctl("tenant", "warm", "pricing").stdout

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "ray"],
        env=service.env,
        cwd=service.folder,
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert SECRET not in done.stdout + done.stderr
    found = json.loads((service.folder / "found.json").read_text())
    assert found["used"] == [6, len(SECRET)]
    assert SECRET not in found["said"]
    assert "**********" in found["said"], "the error is the task's own"

    isolation = service.json("tenant", "check-isolation")
    assert isolation["passed"], isolation
    assert len(isolation["checks"]) >= 6
    assert isolation["not_isolated"]

    _search_for_the_secret(service)
    service.rayctl("tenant", "delete", "pricing", "--yes")
    assert service.rayctl("tenant", "show", "pricing", code=3).stderr.splitlines()[-1] == "code:  tenant-not-found"


def _search_for_the_secret(service: Service) -> None:
    """In the home (state database, logs, artifacts), in Ray's logs, in what Ray's dashboard tells of its work."""
    found = service.up
    words = " ".join(psutil.Process(head_of(service.home)).cmdline())
    [session] = set(re.findall(r"/\S+?/session_[^/\s]+(?=/)", words))
    folders = [service.home, Path(session)]
    assert len(folders) >= 2, "Ray's own folder was not found"
    holding = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and SECRET.encode() in path.read_bytes()
    ]
    assert holding == []
    with sqlite3.connect(f"file:{service.home / 'state' / 'rayctl.db'}?mode=ro", uri=True) as database:
        [(versions,)] = database.execute("SELECT count(*) FROM tenant_versions WHERE tenant = 'pricing'")
    assert versions == 2, "the search looked into the database that holds the tenant"
    token = Path(found["ray_token_file"]).read_text().strip()
    for what in ("tasks", "actors", "workers", "jobs"):
        request = urllib.request.Request(  # noqa: S310  (the dashboard's own address)
            f"{found['dashboard_url']}/api/v0/{what}?detail=1&limit=10000",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            text = answer.read()
        assert b"result" in text
        assert SECRET.encode() not in text
