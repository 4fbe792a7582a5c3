"""Prometheus' text of several processes as one text, each sample with the label ``process``. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["gauge", "joined"]

_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?( .*)", re.DOTALL)


def joined(texts: Mapping[str, str]) -> str:
    """Return one text in which every family is there once.

    Args:
        texts: Process → its text, in which each family's samples follow its ``# HELP`` and ``# TYPE``.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process, text in texts.items():
        family = ""
        for line in text.splitlines():
            words = line.split(" ", 3)
            if line.startswith("# ") and len(words) > 2 and words[1] in ("HELP", "TYPE"):
                family = words[2]
                head = heads.setdefault(family, [])
                if not any(known.split(" ", 3)[1] == words[1] for known in head):
                    head.append(line)
                continue
            found = _SAMPLE.fullmatch(line)
            if found is not None and not line.startswith("#"):
                name, labels, value = found.groups()
                own = f'process="{_escaped(process)}"' + (f",{labels}" if labels else "")
                samples.setdefault(family or name, []).append(f"{name}{{{own}}}{value}")
    lines = [line for family, found in samples.items() for line in (*heads.get(family, ()), *found)]
    return "\n".join([*lines, ""])


def gauge(name: str, meaning: str, values: Sequence[tuple[Mapping[str, str], float]]) -> str:
    """Return a gauge's text. ``values``: labels and number of each sample."""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
    for labels, value in values:
        shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{f'{{{shown}}}' if shown else ''} {value:g}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
