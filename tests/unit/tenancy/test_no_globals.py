"""No configuration exists unless somebody made one: importing creates none, and nothing in the package holds one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import rayctl

PROGRAM = """
import gc, importlib, os, pkgutil
before = dict(os.environ)
import rayctl
names = [module.name for module in pkgutil.walk_packages(rayctl.__path__, "rayctl.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
from rayctl.tenancy.model import TenantConfig
from rayctl.tenancy.current import current_envelope
assert len(names) > 200
assert not [found for found in gc.get_objects() if isinstance(found, TenantConfig)], "an import made a configuration"
assert current_envelope() is None
changed = {name for name in {*os.environ, *before} if os.environ.get(name) != before.get(name)}
assert not {name for name in changed if not name.startswith("RAY_")}, "an import changed the environment"  # Ray's does
"""
MAKERS = {"TenantConfig", "parse", "load", "decode", "config_of"}


def test_importing_creates_no_configuration() -> None:
    environ = {"RAYCTL_TENANT__TENANT": "outside", "RAYCTL_TENANT__SETTINGS__X": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_no_module_makes_one_at_its_top() -> None:
    root = Path(rayctl.__file__).parent
    found = []
    for path in root.rglob("*.py"):
        text = path.read_text()
        if "rayctl.tenancy" not in text and "tenancy" not in path.parts:
            continue  # it cannot name them; its ``parse`` is another one
        for statement in ast.parse(text).body:
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                continue
            for node in ast.walk(statement):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                    found.append(f"{path.relative_to(root)}:{node.lineno}")
    assert found == []
