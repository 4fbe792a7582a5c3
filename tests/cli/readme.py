"""What the README shows: its blocks, the commands and the programs in them."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = [
    "BLOCKS",
    "PROGRAMS",
    "README",
    "ROOT",
    "TYPED_ON_KUBERNETES",
    "TYPED_ON_RAY",
    "command_lines",
    "programs",
    "shell_lines",
]

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)

TYPED_ON_RAY = (
    "rayctl up",
    "rayctl down",
    "rayctl automl submit",
    "rayctl automl predict",
    "rayctl automl report",
    "rayctl automl why",
    "rayctl automl finish",
    "rayctl automl export",
    "rayctl automl download",
    'eval "$(rayctl env)"',
    "curl -H",
    "curl -N",
    "rayctl tenant create",
    "rayctl tenant set",
    "rayctl tenant show",
    "rayctl tenant environments",
)
"""What lines begin with that `tests.e2e.test_readme` types; ``up`` and ``down`` are typed by its fixture."""
PROGRAMS = ("AutoARIMA", "rayctl.load_model(", "rayctl.connect(", "do_auto_ml", "current_config()")
"""What is in the programs that it runs."""
TYPED_ON_KUBERNETES = (
    "rayctl get rc,pods",
    "rayctl explain raycluster/small",
    "rayctl delete raycluster small --wait",
    "rayctl plan -f fleet.yaml",
    "rayctl diff -f fleet.yaml",
    "rayctl rollout status fleet/f",
    "rayctl service status NAME",
    "rayctl explain rayclusterfleet/f",
    "rayctl migrate gcs-ft cluster.yaml --write",
)
"""What lines begin with that `tests.cli.kube.test_readme_commands` types."""


def command_lines() -> list[str]:
    """Return every `rayctl …` that a console block shows, without its comment."""
    found = []
    for line in shell_lines():
        found += re.findall(r"(?:^(?:eval \"\$\()?|\$\()(rayctl [^)]*)", line)
    return list(dict.fromkeys(line.split(" #")[0].strip() for line in found))


def shell_lines() -> list[str]:
    """Return everything that is typed in console blocks, lines that go on joined."""
    lines = [line for kind, text in BLOCKS if kind == "console" for line in text.replace("\\\n", " ").splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def programs() -> list[str]:
    """Return the programs in Python."""
    return [text for kind, text in BLOCKS if kind == "python"]
