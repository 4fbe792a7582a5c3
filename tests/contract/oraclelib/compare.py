"""Differences between recorded and given answers, each in a class, and the report on them."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

MESSAGES = "message"
CLASSES = (
    "run",
    "code",
    "reason",
    "causes",
    "events",
    "resourceVersion",
    "generation",
    "managedFields",
    "headers",
    "body",
    MESSAGES,
)
_TOP = {
    "failed": "run",
    "late": "run",
    "code": "code",
    "reason": "reason",
    "envelope": "reason",
    "details": "reason",
    "strange": "reason",
    "causes": "causes",
    "message": MESSAGES,
    "cause_messages": MESSAGES,
    "type": "headers",
    "headers": "headers",
    "warnings": "headers",
    "ended": "events",
    "lasted": "events",
    "events": "events",
    "relate": "resourceVersion",
    "text": "body",
    "body": "body",
}
_MISSING = "<absent>"


@dataclass(frozen=True)
class Difference:
    """One field of one step that is not as recorded."""

    scenario: str
    step: str
    field: str
    kind: str
    expected: object
    got: object

    def line(self) -> str:
        where = f"{self.scenario}/{self.step}/{self.field} [{self.kind}]"
        return f"{where}: expected {_brief(self.expected)} got {_brief(self.got)}"


@dataclass
class Report:
    """What a check found. Messages are counted apart: a step whose texts alone differ counts as equal."""

    steps: int = 0
    differences: list[Difference] = field(default_factory=list)
    areas: dict = field(default_factory=lambda: defaultdict(Counter))

    def add(self, scenario: str, area: str, recorded: dict, given: dict, soft: dict[str, list]) -> None:
        """Compare all steps of one scenario; `soft` names body paths, per step, whose text is only a message."""
        for step in recorded:
            found = [
                Difference(scenario, step, path, kind, expected, got)
                for path, kind, expected, got in differ(
                    recorded[step], given.get(step, {"failed": "no such step"}), soft.get(step, [])
                )
            ]
            self.steps += 1
            self.differences += found
            self.areas[area]["steps"] += 1
            self.areas[area]["equal"] += not any(d.kind != MESSAGES for d in found)

    @property
    def different(self) -> int:
        return len({(d.scenario, d.step) for d in self.differences if d.kind != MESSAGES})

    def summary(self) -> dict:
        return {
            "steps": self.steps,
            "equal": self.steps - self.different,
            "different": self.different,
            "by_class": {
                kind: len({(d.scenario, d.step) for d in self.differences if d.kind == kind}) for kind in CLASSES
            },
            "by_area": {area: dict(counts) for area, counts in sorted(self.areas.items())},
        }


def differ(recorded: dict, given: dict, soft: list) -> list[tuple]:
    """All differences of two step records: (field, class, expected, got)."""
    if "failed" in given and "failed" not in recorded:
        return [("failed", "run", _MISSING, given["failed"])]
    result: list[tuple] = []
    for key in sorted(set(recorded) | set(given)):
        expected, got = recorded.get(key, _MISSING), given.get(key, _MISSING)
        if key == "warnings":
            _differ_warnings(expected, got, result)
        elif key == "events":
            _differ_events(expected, got, result)
        else:
            _walk(key, expected, got, _TOP.get(key, "body"), soft, result)
    if any(path == "code" for path, *_ in result):
        # another status code makes the rest of the answer incomparable: say that alone
        message = given.get("message") or given.get("reason")
        result = [
            (path, kind, expected, f"{got} {message}" if message else got)
            for path, kind, expected, got in result
            if path == "code"
        ]
    return result


def _differ_warnings(expected, got, result) -> None:
    expected, got = ([] if value == _MISSING else value for value in (expected, got))
    if len(expected) != len(got):
        result.append(("warnings", "headers", expected, got))
    elif expected != got:
        result.append(("warnings", MESSAGES, expected, got))


def _differ_events(expected, got, result) -> None:
    """Compare the sequence first; only where that is equal, compare each event's content."""
    expected, got = ([] if value == _MISSING else value for value in (expected, got))
    if [_event_line(e) for e in expected] != [_event_line(e) for e in got]:
        result.append(("events", "events", [_event_line(e) for e in expected], [_event_line(e) for e in got]))
        return
    for number, (one, other) in enumerate(zip(expected, got, strict=False)):
        _walk(f"events[{number}].object", one.get("object"), other.get("object"), "body", [], result)
        for key in sorted(set(one.get("failure", {})) | set(other.get("failure", {}))):
            _walk(
                f"events[{number}].{key}",
                one["failure"].get(key, _MISSING),
                other["failure"].get(key, _MISSING),
                _TOP.get(key, "body"),
                [],
                result,
            )


def _event_line(event: dict) -> str:
    """One event in short: its type, the object's name, a failure's reason."""
    thing = event.get("object") or {}
    if "failure" in event:
        return f"{event.get('type')} {event['failure'].get('reason')}"
    metadata = thing.get("metadata") or {}
    return f"{event.get('type')} {metadata.get('name') or thing.get('metadata.name') or thing.get('kind')}"


def _walk(path: str, expected, got, kind: str, soft: list, result: list) -> None:
    if expected == got:
        return
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(set(expected) | set(got)):
            _walk(f"{path}.{key}", expected.get(key, _MISSING), got.get(key, _MISSING), kind, soft, result)
    elif isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got) and kind == "body":
        for number, (one, other) in enumerate(zip(expected, got, strict=False)):
            _walk(f"{path}[{number}]", one, other, kind, soft, result)
    else:
        result.append((path, _kind(path, kind, soft), expected, got))


def _kind(path: str, kind: str, soft: list) -> str:
    if kind != "body":
        return kind
    if any(path.removeprefix("body.").startswith(item) for item in soft):
        return MESSAGES
    for name in ("managedFields", "resourceVersion", "generation"):
        if f"metadata.{name}" in path:
            return name
    return "body"


def _brief(value) -> str:
    text = value if value == _MISSING else json.dumps(value, sort_keys=True, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."
