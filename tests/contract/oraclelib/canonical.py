"""Turning an answer into a form that is equal on every server that behaves the same.

What cannot be equal from run to run is replaced by a word in angle brackets, or by how it moved:

* the run's own random id (part of namespace and group names)  -> RUN
* metadata.uid                        -> <uid NAME>, <uid NAME 2> for the second object of that name ...
* metadata.resourceVersion of objects -> first | same | moved | back: against the last answer that showed that object
* metadata.resourceVersion of lists   -> fresh | old: against the highest one that any answer showed
* metadata.resourceVersion in events  -> "rising seen" ...: against the event before, and against the answers
* names made from generateName        -> BASE<5 safe characters>
* times                               -> <time>, <time micro>, or <time +30s> where they lie ahead
* continue tokens, hashes, ages       -> <continue>, <hash>, <age>
"""

import json
import re
from datetime import datetime, timezone

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_AGE = re.compile(r"^(<invalid>|\d+[smhdy](\d+[smhd])?)$")
_MESSAGE_NUMBERS = (
    (re.compile(r"current: \d+"), "current: <rv>"),
    (re.compile(r"(too old resource version: \d+) \(\d+\)"), r"\1 (<rv>)"),
    (re.compile(r"in (the precondition|record) \(\d+\)"), r"in \1 (<rv>)"),
    (re.compile(r"hash=[0-9A-Za-z+/=_-]+"), "hash=<hash>"),
    (re.compile(r"\([0-9a-f]{16,}( \.\.\.)?\)"), "(<hex>)"),
    (re.compile(r'Invalid value: "\{.*\}": ', re.S), 'Invalid value: "{...}": '),  # a whole object, as text
)
_LONGEST_MESSAGE = 600
_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_SAFE_SUFFIX = re.compile(r"[bcdfghjklmnpqrstvwxz2456789]{5}")


class Canon:
    """Canonical forms for the answers of one scenario; remembers uids, names and resourceVersions on the way."""

    def __init__(self, run_id: str, literal_text: str):
        self.run_id = run_id
        self.literal_text = literal_text
        self.words: dict[str, str] = {}  # uid or generated name -> its word
        self._per_name: dict[str, int] = {}  # object name -> how many uids it had
        self._last: dict[str, int] = {}  # uid -> resourceVersion in the last answer
        self._known: dict[str, set[int]] = {}  # uid -> every resourceVersion that an answer showed
        self._highest = 0

    # -- whole documents -----------------------------------------------------------------------------

    def body(self, document, managed_fields: bool):
        """Canonical form of an answer's document. Moves the memory of resourceVersions on."""
        self._register(document)
        return self._walk(document, "", managed_fields, self._movement)

    def event(self, document, managed_fields: bool, stream: dict):
        """Canonical form of a watch event's object; `stream` holds the stream's last resourceVersion."""
        self._register(document)

        def rise(metadata):
            rv = int(metadata["resourceVersion"])
            last, stream["rv"] = stream.get("rv"), rv
            order = "first" if last is None else "rising" if rv > last else "equal" if rv == last else "falling"
            if "uid" not in metadata:
                return order
            return f"{order} {'seen' if rv in self._known.get(metadata['uid'], ()) else 'unseen'}"

        return self._walk(document, "", managed_fields, rise)

    def name_address(self, value: str, name: str) -> None:
        """Write an allotted IPv4 address that a step has saved as <NAME> from now on."""
        if _ADDRESS.fullmatch(value):
            self.words[value] = f"<{name}>"

    def text(self, value: str) -> str:
        """Canonical form of a string: uids, names, times, and numbers in well-known messages."""
        for raw, word in self.words.items():
            if raw in value:
                value = value.replace(raw, word)
        value = value.replace(self.run_id, "RUN").replace(self.run_id.capitalize(), "RUN")
        for pattern, replacement in _MESSAGE_NUMBERS:
            value = pattern.sub(replacement, value)
        return _TIME.sub(self._time, value)

    def failure(self, status: dict, generate_name: str = "") -> dict:
        """Canonical form of a Status that reports a failure, texts kept apart from the machine-readable part.

        `generate_name` is what the request asked to make a name from: the refused name is random then.
        """
        details = status.get("details") or {}
        self._register_names({"name": details.get("name", ""), "generateName": generate_name})
        causes = sorted(
            (
                [c.get("reason", ""), self.text(c.get("field", "")), self.text(c.get("message", ""))[:_LONGEST_MESSAGE]]
                for c in details.get("causes") or []
            ),
            key=lambda c: (c[1], c[0], c[2]),
        )
        message = self.text(status.get("message", ""))[:_LONGEST_MESSAGE]
        if len(causes) > 1:
            message = re.sub(r"(is invalid|with \d+ conflicts): .*", r"\1: ...", message, flags=re.S)
        known = {"name", "group", "kind", "uid", "causes", "retryAfterSeconds"}
        result = {
            "envelope": "/".join(str(status.get(key)) for key in ("apiVersion", "kind", "status", "code")),
            "reason": status.get("reason"),
            "details": {
                key: self.text(value) if isinstance(value, str) else value
                for key, value in details.items()
                if key != "causes"
            }
            if "details" in status
            else None,
            "causes": [[reason, name] for reason, name, _ in causes],
            "message": message,
            "cause_messages": [text for _, _, text in causes],
        }
        strange = set(details) - known
        if strange:
            result["strange"] = sorted(strange)
        return {key: value for key, value in result.items() if value not in (None, [])}

    # -- parts ---------------------------------------------------------------------------------------

    def _register(self, node) -> None:
        """Give words to new uids and generated names, in document order."""
        if isinstance(node, list):
            for element in node:
                self._register(element)
        elif isinstance(node, dict):
            for holder in (node.get("metadata"), node.get("details")):
                if isinstance(holder, dict):
                    self._register_names(holder)
            for value in node.values():
                self._register(value)

    def _register_names(self, metadata: dict) -> None:
        name, uid, base = metadata.get("name", ""), metadata.get("uid"), metadata.get("generateName")
        if base and name.startswith(base) and _SAFE_SUFFIX.fullmatch(name[len(base) :]):
            self.words.setdefault(name, f"{base}<5 safe characters>")
        if isinstance(uid, str) and len(uid) == 36 and uid not in self.words and uid not in self.literal_text:
            shown = self.text(self.words.get(name, name))
            count = self._per_name[shown] = self._per_name.get(shown, 0) + 1
            self.words[uid] = f"<uid {shown}>" if count == 1 else f"<uid {shown} {count}>"

    def _walk(self, node, key, managed_fields, rv_word):
        if isinstance(node, list):
            return [self._walk(element, "", managed_fields, rv_word) for element in node]
        if isinstance(node, str):
            if key == "storageVersionHash":
                return "<hash>"
            return "<continue>" if key == "continue" and node else self.text(node)
        if not isinstance(node, dict):
            return node
        result = {}
        for name, value in node.items():
            if name == "metadata" and isinstance(value, dict):
                result[name] = self._metadata(value, managed_fields, rv_word)
            elif name == "rows" and node.get("kind") == "Table":
                result[name] = [self._row(row, managed_fields, rv_word) for row in value or []]
            elif name == "columnDefinitions" and node.get("kind") == "Table":
                result[name] = [{k: v for k, v in column.items() if k != "description"} for column in value or []]
            else:
                result[self.text(name)] = self._walk(value, name, managed_fields, rv_word)
        return result

    def _metadata(self, metadata, managed_fields, rv_word):
        result = {}
        for name, value in metadata.items():
            if name == "managedFields":
                if managed_fields:
                    result[name] = sorted((self._walk(entry, "", False, rv_word) for entry in value), key=_entry_order)
            elif name == "resourceVersion" and isinstance(value, str) and value.isdigit():
                result[name] = rv_word(metadata)
            elif name == "continue" and value == "":
                pass  # the same as absent: custom resource lists say "", others leave it out
            else:
                result[name] = self._walk(value, name, managed_fields, rv_word)
        return result

    def _row(self, row, managed_fields, rv_word):
        row = self._walk(row, "", managed_fields, rv_word)
        row["cells"] = ["<age>" if isinstance(c, str) and _AGE.match(c) else c for c in row.get("cells", [])]
        return row

    def _movement(self, metadata: dict) -> str:
        rv, uid = int(metadata["resourceVersion"]), metadata.get("uid")
        if uid is None:
            word = "fresh" if rv >= self._highest else "old"
        else:
            last = self._last.get(uid)
            word = "first" if last is None else "same" if rv == last else "moved" if rv > last else "back"
            self._last[uid] = rv
            self._known.setdefault(uid, set()).add(rv)
        self._highest = max(self._highest, rv)
        return word

    def _time(self, match) -> str:
        raw = match.group(0)
        if raw in self.literal_text:
            return raw
        ahead = (datetime.fromisoformat(raw.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()
        if ahead > 5:
            return f"<time +{round(ahead, -1):.0f}s>"
        return "<time micro>" if match.group(1) else "<time>"


def _entry_order(entry: dict) -> tuple:
    """managedFields are sorted by time on a server, which depends on second boundaries: sort by what they are."""
    return (
        *tuple(str(entry.get(key, "")) for key in ("operation", "manager", "apiVersion", "subresource")),
        json.dumps(entry, sort_keys=True),
    )
