"""Documents as YAML, the same every time."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["render"]


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(document: dict[str, Any], head: bool = True) -> str:
    """Return a document as YAML, with a line that says where it comes from."""
    line = "# Made by `python -m rayctl.manifests.generate`; changes here are overwritten.\n" if head else ""
    return line + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=120)
