"""Where a configuration comes from: files, environment, arguments, and which one wins."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rayctl.errors import InvalidRequest
from rayctl.tenancy.codec import parse
from rayctl.tenancy.load import assign, assignment, differences, load, read_file, remove

YAML = """
tenant: pricing
settings:
  model: {depth: 4, rate: 0.1}
  since: 2026-01-02
environment:
  packages: [six==1.16.0]
secrets:
  db: env:PRICING_DB
"""
TOML = """
tenant = "pricing"
[settings.model]
depth = 4
rate = 0.1
[settings]
since = 2026-01-02
[environment]
packages = ["six==1.16.0"]
[secrets]
db = "env:PRICING_DB"
"""
JSON = json.dumps(
    {
        "tenant": "pricing",
        "settings": {"model": {"depth": 4, "rate": 0.1}, "since": "2026-01-02"},
        "environment": {"packages": ["six==1.16.0"]},
        "secrets": {"db": {"source": "env", "name": "PRICING_DB"}},
    }
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(("name", "text"), [("a.yaml", YAML), ("a.yml", YAML), ("a.toml", TOML), ("a.json", JSON)])
def test_the_three_kinds_of_files_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    config = load(write(tmp_path, name, text)).config
    assert config.tenant == "pricing"
    assert config.setting("model.depth") == 4
    assert config.setting("since") == ("2026-01-02" if name.endswith("json") else date(2026, 1, 2))
    assert str(config.secrets["db"]) == "env:PRICING_DB"
    assert config.environment.isolation == "venv", "packages ask for a virtual environment"


def test_arguments_beat_the_environment_which_beats_the_file_which_beats_the_defaults(tmp_path: Path) -> None:
    environ = {
        "RAYCTL_TENANT__SETTINGS__MODEL__DEPTH": "5",
        "RAYCTL_TENANT__SETTINGS__MODEL__RATE": "0.5",
        "RAYCTL_TENANT__QUOTA__MAX_RUNNING": "3",
        "RAYCTL_TENANT_UNRELATED": "x",
        "PATH": "/bin",
    }
    found = load(write(tmp_path, "a.yaml", YAML), environ, {"settings": {"model": {"depth": 6}}})
    assert found.config.settings["model"] == {"depth": 6, "rate": 0.5}
    assert found.config.quota.max_running == 3
    assert {pointer: origin.split()[0] for pointer, origin in found.origins.items()} == {
        "/tenant": "file",
        "/description": "default",
        "/settings/model/depth": "argument",
        "/settings/model/rate": "environment",
        "/settings/since": "file",
        "/environment/isolation": "follows",
        "/environment/packages": "file",
        "/environment/installer": "default",
        "/environment/variables": "default",
        "/environment/image": "default",
        "/environment/setup_timeout_s": "default",
        "/secrets/db/source": "file",
        "/secrets/db/name": "file",
        "/defaults/num_cpus": "default",
        "/defaults/num_gpus": "default",
        "/defaults/memory_bytes": "default",
        "/defaults/resources": "default",
        "/defaults/max_retries": "default",
        "/limits/num_cpus": "default",
        "/limits/num_gpus": "default",
        "/limits/memory_bytes": "default",
        "/limits/resources": "default",
        "/quota/max_running": "environment",
        "/quota/max_queued": "default",
        "/quota/max_cpus": "default",
        "/quota/max_stored_bytes": "default",
        "/artifacts": "default",
    }
    assert found.origins["/quota/max_running"] == "environment RAYCTL_TENANT__QUOTA__MAX_RUNNING"


def test_variables_of_the_environment_spell_what_the_file_spells(tmp_path: Path) -> None:
    file = write(
        tmp_path, "a.yaml", "tenant: a\nsettings: {Model: {maxDepth: 1}}\nenvironment: {variables: {Mode: x}}\n"
    )
    environ = {
        "RAYCTL_TENANT__SETTINGS__MODEL__MAXDEPTH": "7",
        "RAYCTL_TENANT__SETTINGS__OTHER_ONE": "1",
        "RAYCTL_TENANT__ENVIRONMENT__VARIABLES__MODE": "y",
        "RAYCTL_TENANT__ENVIRONMENT__VARIABLES__APP_MODE": "fast",
    }
    found = load(file, environ).config
    assert found.settings == {"Model": {"maxDepth": 7}, "other_one": 1}
    assert found.environment.variables == {"Mode": "y", "APP_MODE": "fast"}


def test_a_file_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    for name, text in (
        ("a.json", '{"a":' * 500 + "1" + "}" * 500),
        ("a.yaml", "a: &a {b: *a}"),
        ("b.yaml", "[" * 5000),
    ):
        with pytest.raises(InvalidRequest) as caught:
            load(write(tmp_path, name, text))
        assert caught.value.code == "invalid-file"


def test_lists_are_replaced_and_a_value_may_replace_a_mapping(tmp_path: Path) -> None:
    arguments = {"environment": {"packages": ["toolz"]}, "settings": {"model": "none"}}
    found = load(write(tmp_path, "a.yaml", YAML), None, arguments)
    assert found.config.environment.packages == ("toolz",)
    assert found.config.settings["model"] == "none"
    assert found.origins["/settings/model"] == "argument"


def test_the_environment_is_not_looked_at_unless_it_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCTL_TENANT__DESCRIPTION", "from outside")
    assert load(arguments={"tenant": "a"}).config.description == ""


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "tenant: a\ntenant: b\n", "occurs twice"),
        ("a.yaml", "a: {b: 1, b: 2}\n", "the key b occurs twice (line 1)"),
        ("a.json", '{"tenant": "a", "tenant": "b"}', "occurs twice"),
        ("a.yaml", "tenant: [", "not valid"),
        ("a.yaml", "!!python/object/apply:os.system ['true']", "not valid"),
        ("a.toml", "tenant = ", "not valid"),
        ("a.json", "[1]", "no mapping"),
        ("a.yaml", "", "no mapping"),
        ("a.ini", "", "unknown suffix"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_file(write(tmp_path, name, text))
    assert caught.value.code == "invalid-file"
    assert words in caught.value.message


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InvalidRequest) as caught:
            read_file(path)
        assert caught.value.code in ("unreadable-file", "invalid-file")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("settings.a=1", (["settings", "a"], 1)),
        ("settings.a=1.5", (["settings", "a"], 1.5)),
        ("settings.a=true", (["settings", "a"], True)),
        ("settings.a=[1, 2]", (["settings", "a"], [1, 2])),
        ("settings.a=x=y", (["settings", "a"], "x=y")),
        ("settings.a=", (["settings", "a"], None)),
        ("settings.a='1'", (["settings", "a"], "1")),
        ("settings.a=[", (["settings", "a"], "[")),
    ],
)
def test_assignments(text: str, expected: tuple[list[str], Any]) -> None:
    assert assignment(text) == expected


@pytest.mark.parametrize("text", ["settings", "=1", "a..b=1", ".a=1"])
def test_texts_that_are_no_assignments(text: str) -> None:
    with pytest.raises(InvalidRequest):
        assignment(text)


def test_putting_in_and_taking_out() -> None:
    document: dict[str, Any] = {"a": {"b": 1}}
    assign(document, ["a", "c", "d"], 2)
    assert document == {"a": {"b": 1, "c": {"d": 2}}}
    remove(document, "a.c.d")
    remove(document, "a.b")
    assert document == {"a": {"c": {}}}
    for path in ("a.b", "x", "a.c.d.e"):
        with pytest.raises(InvalidRequest, match="no value"):
            remove(document, path)


def test_differences() -> None:
    before = parse({"tenant": "a", "settings": {"x": 1, "gone": True, "same": [1]}})
    after = parse({"tenant": "a", "settings": {"x": 2, "new": {"y": 1}, "same": [1]}, "quota": {"max_running": 1}})
    found = {change.pointer: (change.before, change.after) for change in differences(before, after)}
    assert found == {
        "/quota/max_running": (None, 1),
        "/settings/gone": (True, None),
        "/settings/new/y": (None, 1),
        "/settings/x": (1, 2),
    }
    assert differences(before, before) == []
    assert [change.pointer for change in differences(None, parse({"tenant": "a"}))] == ["/tenant"]
