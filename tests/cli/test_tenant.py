"""``rayctl tenant``: what people type, what they see, what programs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from rayctl.cli.tenant_cluster import _bytes
from rayctl.client import Connection
from rayctl.errors import Conflict
from rayctl.tenancy import codec

from .conftest import Server

Run = Callable[..., Result]
FILE = """
tenant: pricing
description: Prices
settings:
  model: {depth: 4}
environment:
  packages: [six==1.16.0]
quota: {max_running: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "pricing.yaml").write_text(FILE)
    return "pricing.yaml"


@pytest.fixture
def made(run: Run, server: Server, file: str) -> str:
    assert run("tenant", "create", file).exit_code == 0
    return "pricing"


def test_create_and_list(run: Run, server: Server, file: str) -> None:
    assert run("tenant", "list").stderr == "No tenants are registered: rayctl tenant create FILE\n"
    assert run("tenant", "create", file, "--dry-run").stdout == "tenant pricing would be created\n"
    assert run("tenant", "create", file).stdout == "tenant pricing created (version 1)\n"
    again = run("tenant", "create", file)
    assert (again.exit_code, again.stderr.splitlines()[-1]) == (6, "code:  tenant-exists")
    lines = run("tenant", "list").stdout.splitlines()
    assert lines[0].split() == ["TENANT", "VERSION", "ENVIRONMENT", "CHANGED", "BY"]
    assert lines[1].split()[:5] == ["pricing", "1", "venv", "(1", "package)"]
    assert run("tenant", "list", "-o", "name").stdout == "pricing\n"
    assert json.loads(run("tenant", "list", "-o", "json").stdout)[0]["config"]["quota"] == {"max_running": 2}


def test_show(run: Run, made: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run("tenant", "show", made).stdout
    assert "/settings/model/depth" in plain
    origins = {
        line.split()[0]: line.split("  ")[-1].strip()
        for line in run("tenant", "show", made, "--origins").stdout.splitlines()
    }
    assert origins["/settings/model/depth"] == "version 1"
    assert origins["/quota/max_cpus"] == "default"
    document = yaml.safe_load(run("tenant", "show", made, "-o", "yaml").stdout)
    assert (document["version"], document["config"]["settings"]) == (1, {"model": {"depth": 4}})
    monkeypatch.setenv("RAYCTL_TENANT__SETTINGS__MODEL__DEPTH", "9")
    loaded = run("tenant", "show", "--file", file, "--set", "quota.max_cpus=2", "--origins", "-o", "json")
    found = json.loads(loaded.stdout)
    assert found["config"]["settings"] == {"model": {"depth": 9}}
    assert found["origins"]["/settings/model/depth"] == "environment RAYCTL_TENANT__SETTINGS__MODEL__DEPTH"
    assert found["origins"]["/quota/max_cpus"] == "argument"
    assert found["origins"]["/description"] == f"file {file}"
    assert run("tenant", "show").exit_code == 2
    assert run("tenant", "show", "nobody").exit_code == 3


def test_set_history_diff_rollback(run: Run, made: str, file: str) -> None:
    changed = run(
        "tenant", "set", made, "settings.model.depth=6", "quota.max_cpus=4", "--unset", "description", "--note", "n"
    )
    assert changed.stdout == "tenant pricing changed (version 2)\n", changed.stderr
    assert run("tenant", "set", made, "settings.model.depth=6").stdout == "tenant pricing is unchanged (version 2)\n"
    lines = run("tenant", "history", made).stdout.splitlines()
    assert lines[1].split()[0] == "2"
    assert "/description, /quota/max_cpus, /settings/model/depth" in lines[1]
    diff = run("tenant", "diff", made, "1", "2")
    assert diff.exit_code == 1
    assert diff.stdout.splitlines() == [
        "- /description: Prices",
        "+ /quota/max_cpus: 4.0",
        "- /settings/model/depth: 4",
        "+ /settings/model/depth: 6",
    ]
    assert run("tenant", "diff", made, file).exit_code == 1
    assert run("tenant", "diff", made, "2").exit_code == 0
    assert "- /quota/max_cpus: 4.0" in run("tenant", "rollback", made, "1", "--dry-run").stdout
    back = run("tenant", "rollback", made, "1")
    assert back.stdout == "tenant pricing is back at the contents of version 1 (version 3)\n"
    assert run("tenant", "diff", made, file).exit_code == 0
    assert run("tenant", "rollback", made, "9").exit_code == 3


def test_a_change_that_was_based_on_something_else_is_refused(run: Run, made: str) -> None:
    run("tenant", "set", made, "settings.a=1")
    late = run("tenant", "set", made, "settings.b=1", "--expected", "1")
    assert (late.exit_code, late.stderr.splitlines()[-1]) == (6, "code:  tenant-changed")


def test_set_refuses_what_makes_no_sense(run: Run, made: str) -> None:
    assert run("tenant", "set", made).exit_code == 2
    assert run("tenant", "set", made, "quota.max_running=0").exit_code == 2
    wrong = run("tenant", "set", made, "quota.max_runs=1")
    assert wrong.exit_code == 2
    assert "/quota/max_runs: there is no such field" in wrong.stderr
    assert run("tenant", "set", made, "--unset", "settings.nothing").exit_code == 2
    assert run("tenant", "set", made, "settings.a=1", "--dry-run").stdout == "+ /settings/a: 1\n"
    assert run("tenant", "set", made, "environment.variables.LD_PRELOAD=x").exit_code == 7


def test_validate(run: Run, server: Server, file: str, tmp_path: Path) -> None:
    assert run("tenant", "validate", file).stdout.startswith("tenant pricing: valid, fingerprint ")
    assert run("tenant", "list", "-o", "name").stdout == ""
    (tmp_path / "bad.yaml").write_text("tenant: a\nquota: {max_running: -1, max_cpus: none}\n")
    bad = run("tenant", "validate", "bad.yaml")
    assert bad.exit_code == 2
    assert "/quota/max_running" in bad.stderr
    assert "/quota/max_cpus" in bad.stderr
    (tmp_path / "policy.yaml").write_text("tenant: a\nenvironment: {packages: [six @ https://host/six.whl]}\n")
    assert run("tenant", "validate", "policy.yaml").exit_code == 7
    assert run("tenant", "validate", "policy.yaml", "--offline").exit_code == 0
    assert run("tenant", "validate", "none.yaml").exit_code == 2


def test_delete(run: Run, made: str) -> None:
    assert run("tenant", "delete", made, "--dry-run").stdout == "tenant pricing (version 1) would be removed\n"
    assert run("tenant", "delete", made).stdout == "tenant pricing removed\n"
    gone = run("tenant", "delete", made)
    assert (gone.exit_code, gone.stderr.splitlines()[-1]) == (3, "code:  tenant-not-found")


def test_the_python_client(connection: Connection) -> None:
    config = codec.parse({"tenant": "a", "settings": {"rate": Decimal("0.1"), "set": {1, 2}}})
    made = connection.tenants.create(config, note="hello")
    assert (made.name, made.version, made.config) == ("a", 1, config)
    changed = connection.tenants.update({"tenant": "a", "settings": {"rate": 2}}, expected=1)
    assert changed.version == 2
    with pytest.raises(Conflict):
        connection.tenants.update(config, expected=1)
    assert connection.tenants.get("a", 1).config == config
    assert [found.name for found in connection.tenants.list()] == ["a"]
    assert [item["note"] for item in connection.tenants.history("a")] == ["", "hello"]
    assert connection.tenants.rollback("a", 1).config == config
    assert connection.tenants.check({"tenant": "b"}).tenant == "b"
    connection.tenants.delete("a")
    assert connection.tenants.list() == []


def test_a_tenant_keeps_its_name(run: Run, made: str, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("tenant: other\nsettings: {x: 1}\n")
    assert run("tenant", "create", "other.yaml").exit_code == 0
    refused = run("tenant", "set", made, "tenant=other")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1] == "code:  tenant-renamed"
    assert [line.split()[:2] for line in run("tenant", "list").stdout.splitlines()[1:]] == [["other", "1"], [made, "1"]]


def test_what_people_see_of_a_configuration_has_always_the_same_order(run: Run, made: str) -> None:
    config = json.loads(run("tenant", "show", made, "-o", "json").stdout)["config"]
    assert list(config) == ["tenant", "description", "settings", "environment", "quota"]


def test_names_that_no_tenant_can_have(run: Run, tmp_path: Path) -> None:
    for name in ("Bad Name", "-a", "a-", "x" * 64, "a\\n", ""):
        (tmp_path / "bad.yaml").write_text(f'tenant: "{name}"\n')
        refused = run("tenant", "validate", "bad.yaml", "--offline")
        assert (refused.exit_code, "63 lower-case letters, digits and hyphens" in refused.stderr) == (2, True), name


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500MB", 500_000_000), ("2GB", 2 * 10**9), ("1.5 kB", 1500), ("3T", 3 * 10**12), ("7", 7)],
)
def test_sizes_that_environments_may_keep(text: str, size: int) -> None:
    assert _bytes(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "5 mb", "1e9", "2GiB", "inf"])
def test_sizes_that_are_none(run: Run, text: str) -> None:
    refused = run("tenant", "environments", f"--keep={text}")
    assert refused.exit_code == 2
    assert "write a size like 500MB" in refused.stderr
