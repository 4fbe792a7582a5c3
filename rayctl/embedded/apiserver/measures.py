"""What the server counts of its own work, as text for Prometheus, under kube-apiserver's names where it has one.

No label has an object's name or a user's: the number of series grows with the kinds, not with the cluster.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from rayctl.embedded.apiserver.requests import Info
from rayctl.embedded.apiserver.resources import Resource

__all__ = ["CONTENT_TYPE", "Measures", "Series", "exposition"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_VERBS = {"create": "POST", "update": "PUT", "deletecollection": "DELETECOLLECTION"}
Series = tuple[str, str, str, Iterable[tuple[Mapping[str, str], float]]]
"""(name, type, help, (labels, value) pairs)."""


class Measures:
    """Counts requests as they are answered."""

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str, str, str, str, int]] = Counter()
        self._took: dict[str, list[int]] = {}
        self._sums: Counter[str] = Counter()

    def note(self, info: Info, resource: Resource | None, code: int, seconds: float) -> None:
        """Note an answer. ``resource``: of which kind; paths of none share a series, or clients could make new ones."""
        verb = info.verb if resource is not None else ""
        if resource is not None:
            below = info.subresource if info.subresource in resource.subresources else ""
            self._answered[(verb, info.group, info.version, info.resource, below, code)] += 1
        else:
            self._answered[("", "", "", "", "", code)] += 1
        if verb != "watch":  # its answer begins at once and lasts for hours
            counts = self._took.get(verb)
            if counts is None:
                counts = self._took[verb] = [0] * (len(BUCKETS_S) + 1)
            counts[bisect_left(BUCKETS_S, seconds)] += 1
            self._sums[verb] += seconds  # type: ignore[assignment]

    def series(self) -> Iterator[Series]:
        """Yield what was counted."""
        names = ("verb", "group", "version", "resource", "subresource", "code")
        answered = (
            (dict(zip(names, (_VERBS.get(key[0], key[0].upper()), *key[1:5], str(key[5])), strict=True)), float(count))
            for key, count in sorted(self._answered.items())
        )
        yield "apiserver_request_total", "counter", "Requests answered.", answered
        yield "apiserver_request_duration_seconds", "histogram", "How long answers took.", self._durations()

    def _durations(self) -> Iterator[tuple[Mapping[str, str], float]]:
        for verb, counts in sorted(self._took.items()):
            labels, below = {"verb": _VERBS.get(verb, verb.upper())}, 0
            for most, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                below += count
                yield {"": "_bucket", **labels, "le": most}, float(below)
            yield {"": "_sum", **labels}, float(self._sums[verb])
            yield {"": "_count", **labels}, float(below)


def exposition(series: Iterable[Series]) -> str:
    """Return series in Prometheus' text form. A label ``""`` is a suffix of the name."""
    lines = []
    for name, kind, meaning, values in series:
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
        for labels, value in values:
            shown = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items() if label)
            number = str(int(value)) if value == int(value) else repr(value)
            lines.append(f"{name}{labels.get('', '')}{'{' + shown + '}' if shown else ''} {number}")
    return "\n".join([*lines, ""])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
