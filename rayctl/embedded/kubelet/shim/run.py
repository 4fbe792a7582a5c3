"""Starts `main` or `inside` by file name without importing the rest of rayctl, which would cost a second and 50 MB.

Usage: ``python -E -s -S -B run.py main|inside``, with the specification on standard input.
"""

from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path


def without_parents(package: str, folder: Path) -> None:
    """Make a package importable as itself though its parents' ``__init__`` are not run."""
    parts = package.split(".")
    for count in range(1, len(parts) + 1):
        name = ".".join(parts[:count])
        module = types.ModuleType(name)
        module.__path__ = [str(folder.parents[len(parts) - count - 1] if count < len(parts) else folder)]
        sys.modules[name] = module


def main(argv: list[str]) -> None:
    """Run one of the two programs."""
    package = "rayctl.embedded.kubelet.shim"
    without_parents(package, Path(__file__).resolve().parent)
    sys.path.pop(0)  # this folder: its names are not top-level modules
    importlib.import_module(f"{package}.{argv[0]}").main()


if __name__ == "__main__":
    main(sys.argv[1:])
