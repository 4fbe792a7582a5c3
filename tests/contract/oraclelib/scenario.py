"""Scenario files: loading, checking, and filling in variables."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

STEP_KEYS = {
    # what is done (exactly one of these)
    "do",
    "watch",
    "events",
    "until",
    "pause",
    # how
    "id",
    "query",
    "headers",
    "user",
    "accept",
    "body",
    "raw",
    "yaml",
    "patch",
    "path",
    "that",
    "within",
    "count",
    "quiet",
    "close",
    "bookmarks",
    "note",
    # what is kept
    "save",
    "relate",
    "compare",
    "ignore",
    "soft",
    "select",
    "sort",
    "managedFields",
    "headers_seen",
    "lasted",
}
ACTIONS = ("do", "watch", "events", "until", "pause")
SCENARIO_KEYS = {
    "scenario",
    "area",
    "title",
    "namespaces",
    "crds",
    "let",
    "setup",
    "steps",
    "cleanup",
    "optional",
    "requires",
    "managedFields",
    "serial",
}
_VARIABLE = re.compile(r"<([a-z][a-z0-9_]*)>")


class ScenarioError(Exception):
    """A scenario file is wrong; the text says which file and what."""


class MissingVariable(Exception):
    """A step needs a value that no earlier answer gave."""


@dataclass(frozen=True)
class Scenario:
    """One scenario file. `text` is the file's raw text: literal times in it are not canonicalised."""

    name: str
    area: str
    title: str
    path: Path
    text: str
    namespaces: int = 1
    crds: list = field(default_factory=list)
    let: dict = field(default_factory=dict)
    setup: list = field(default_factory=list)
    steps: list = field(default_factory=list)
    cleanup: list = field(default_factory=list)
    optional: str = ""
    requires: list = field(default_factory=list)
    managed_fields: bool = False

    def fixture(self, name: str) -> dict:
        """Return a CRD fixture by name, from beside this scenario or from beside run.py."""
        for folder in (self.path.parent.parent, Path(__file__).parent.parent):
            candidate = folder / "fixtures" / f"{name}.yaml"
            if candidate.exists():
                return yaml.load(candidate.read_text(), Loader=PlainLoader)
        raise ScenarioError(f"{self.path}: no fixture {name}.yaml")


def load(path: Path) -> Scenario:
    """Read one scenario file. Raises ScenarioError for unknown keys, missing or repeated step ids."""
    text = path.read_text()
    try:
        data = yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as problem:
        raise ScenarioError(f"{path}: {problem}") from problem
    unknown = set(data) - SCENARIO_KEYS
    if unknown:
        raise ScenarioError(f"{path}: unknown keys {sorted(unknown)}")
    if data.get("scenario") != path.stem:
        raise ScenarioError(f"{path}: 'scenario' must be {path.stem!r}, the name of the file")
    seen = set()
    for step in data["steps"]:
        _check_step(path, step)
        if step["id"] in seen:
            raise ScenarioError(f"{path}: step id {step['id']!r} is used twice")
        seen.add(step["id"])
    for step in data.get("setup", []) + data.get("cleanup", []):
        _check_step(path, {"id": "unnamed", **step})
    return Scenario(
        name=data["scenario"],
        area=data["area"],
        title=data["title"],
        path=path,
        text=text,
        namespaces=data.get("namespaces", 1),
        crds=data.get("crds", []),
        let=data.get("let", {}),
        setup=data.get("setup", []),
        steps=data["steps"],
        cleanup=data.get("cleanup", []),
        optional=data.get("optional", ""),
        requires=data.get("requires", []),
        managed_fields=data.get("managedFields", False),
    )


def load_all(arguments: list[str]) -> list[Scenario]:
    """Load files and every *.yaml of folders, sorted by name."""
    files = []
    for argument in arguments:
        path = Path(argument)
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    return [load(path) for path in files]


def fill(value, variables: dict[str, str]):
    """Replace every <name> in all strings (keys too) of a value; <pad300> is 300 letters x. Raises MissingVariable."""
    if isinstance(value, str):

        def replace(match):
            name = match.group(1)
            if re.fullmatch(r"pad\d+", name):
                return "x" * int(name[3:])
            if name not in variables:
                raise MissingVariable(name)
            return fill(str(variables[name]), variables) if "<" in str(variables[name]) else str(variables[name])

        return _VARIABLE.sub(replace, value)
    if isinstance(value, dict):
        return {fill(key, variables): fill(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, variables) for item in value]
    return value


def _check_step(path: Path, step: dict) -> None:
    if "id" not in step:
        raise ScenarioError(f"{path}: a step has no id: {step}")
    unknown = set(step) - STEP_KEYS
    if unknown:
        raise ScenarioError(f"{path}: step {step['id']}: unknown keys {sorted(unknown)}")
    if sum(action in step for action in ACTIONS) != 1:
        raise ScenarioError(f"{path}: step {step['id']}: needs exactly one of {ACTIONS}")
    for action in ("do", "until"):
        if action in step and not re.match(r"[A-Z]+ [/<]", step[action]):
            raise ScenarioError(f"{path}: step {step['id']}: {action} must be METHOD /path, not {step[action]!r}")


class PlainLoader(yaml.SafeLoader):
    """SafeLoader that leaves times as the strings they are, and takes only true and false for booleans."""


PlainLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag != "tag:yaml.org,2002:timestamp" and (tag != "tag:yaml.org,2002:bool" or first in "tTfF")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
