"""``metadata.managedFields``: read, changed by every write, written back.

Two kinds of writes: an *update* (POST, PUT, the other patches) makes its author an owner of what it changed; an
*apply* sends everything its author cares about, and loses what it no longer sends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rayctl.embedded.apiserver.apply.created import created_fields
from rayctl.embedded.apiserver.apply.fields import Fields, shown_path
from rayctl.embedded.apiserver.apply.typed import difference, fields_of, merge, named_members, remove
from rayctl.embedded.apiserver.errors import ApiError
from rayctl.embedded.apiserver.schema.formats import now_seconds
from rayctl.embedded.apiserver.schema.node import MISSING, Node

__all__ = ["Writer", "apply_object", "record_update"]

MAX_UPDATERS = 10
"""Entries for updates; older ones are folded into `ANCIENT`."""
ANCIENT = "ancient-changes"
BEFORE_APPLY = "before-first-apply"

_STRIPPED = Fields()
for _path in (
    ("f:apiVersion",),
    ("f:kind",),
    ("f:metadata",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            *("name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation"),
            *("managedFields", "resourceVersion"),
        )
    ),
):
    _STRIPPED.add(_path)


@dataclass(frozen=True)
class Writer:
    """Who writes, and through what. ``node`` is the schema of the object in ``version`` (group/version)."""

    manager: str
    version: str
    subresource: str
    node: Node
    now: float


@dataclass(frozen=True)
class _Identity:
    manager: str
    operation: str
    version: str
    subresource: str


@dataclass(frozen=True)
class _Owned:
    fields: Fields
    version: str
    time: str | None


_Managed = dict[_Identity, _Owned]
Convert = Callable[[str], Node | None]
"""group/version → its schema; None if it is served no more."""


def _identity(entry: Mapping[str, Any]) -> _Identity:
    # An applier is the same one whatever version it applied.
    version = "" if entry.get("operation") == "Apply" else entry.get("apiVersion", "")
    return _Identity(entry.get("manager", ""), entry.get("operation", ""), version, entry.get("subresource", ""))


def _decode(entries: Any) -> _Managed:
    """Read managedFields.

    Raises:
        ValueError: They are damaged.
    """
    managed: _Managed = {}
    for entry in entries or []:
        if entry.get("operation") not in ("Apply", "Update") or not entry.get("apiVersion"):
            raise ValueError("an entry has no operation or apiVersion")
        if entry.get("fieldsType", "FieldsV1") != "FieldsV1":
            raise ValueError("an entry has an unknown fieldsType")
        fields = Fields.parse(entry.get("fieldsV1") or {})
        managed[_identity(entry)] = _Owned(fields, entry["apiVersion"], entry.get("time"))
    return managed


def _decode_or_none(entries: Any) -> _Managed:
    try:
        return _decode(entries)
    except ValueError:
        return {}


def _encode(managed: _Managed) -> list[dict[str, Any]]:
    def order(item: tuple[_Identity, _Owned]) -> tuple[str, str, str, str, str]:
        who, owned = item
        return (who.operation, owned.time or "", who.manager, owned.version, who.subresource)

    entries = []
    for who, owned in sorted(managed.items(), key=order):
        entry: dict[str, Any] = {"manager": who.manager, "operation": who.operation, "apiVersion": owned.version}
        if owned.time:
            entry["time"] = owned.time
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields.document()}
        if who.subresource:
            entry["subresource"] = who.subresource
        entries.append(entry)
    return entries


def _is_reset(entries: Any) -> bool:
    return isinstance(entries, list) and len(entries) == 1 and not any((entries[0] or {}).values())


def _put(metadata: dict[str, Any], managed: _Managed) -> None:
    if managed:
        metadata["managedFields"] = _encode(managed)
    else:
        metadata.pop("managedFields", None)


def record_update(writer: Writer, live: Mapping[str, Any] | None, new: dict[str, Any], ignored: Fields) -> None:
    """Write into a new state who owns what, after an update of any kind. In place.

    ``live``: the state before; None for a new object. ``ignored``: fields that this write cannot change.
    """
    metadata = new["metadata"]
    sent = metadata.get("managedFields")
    if live is None and not sent and not writer.subresource:
        fields = created_fields(writer.node, new, ignored)
        if fields is not None:
            _put_first(writer, metadata, fields)
            return
    kept = (live or {}).get("metadata", {}).get("managedFields")
    if not writer.subresource and _is_reset(sent):
        managed: _Managed = {}
    else:
        managed = {} if writer.subresource else _decode_or_none(sent)
        managed = managed or _decode_or_none(kept)
    if not managed and live is not None:
        # Nobody has asked for tracking: it begins with the first apply.
        metadata.pop("managedFields", None)
        return
    removed, modified, added = difference(writer.node, dict(live or {}), new)
    removed, modified, added = (found.without_below(ignored) for found in (removed, modified, added))
    touched = modified.union(added)
    me = _Identity(writer.manager, "Update", writer.version, writer.subresource)
    before = managed.get(me)
    changed = {}
    for who, owned in managed.items():
        left = owned.fields.difference(touched).difference(removed)
        if not left.empty:
            changed[who] = replace(owned, fields=left)
    mine = _strip(touched)
    if not mine.empty:
        kept_fields = changed[me].fields if me in changed else Fields()
        # Writes by scale are recorded without a time.
        at = None if writer.subresource == "scale" else now_seconds(writer.now)
        changed[me] = _Owned(kept_fields.union(mine), writer.version, at)
    elif before is not None and me in changed:
        changed[me] = replace(changed[me], time=before.time)
    _put(metadata, _capped(changed))


def _put_first(writer: Writer, metadata: dict[str, Any], fields: dict[str, Any]) -> None:
    metadata.pop("managedFields", None)
    if fields:
        entry = {"manager": writer.manager, "operation": "Update", "apiVersion": writer.version}
        metadata["managedFields"] = [
            {**entry, "time": now_seconds(writer.now), "fieldsType": "FieldsV1", "fieldsV1": fields}
        ]


def _strip(fields: Fields) -> Fields:
    return fields.difference(_STRIPPED)


def _capped(managed: _Managed) -> _Managed:
    updaters = [who for who in managed if who.operation == "Update"]
    if len(updaters) <= MAX_UPDATERS:
        return managed
    updaters.sort(key=lambda who: (managed[who].time or "", who.manager))
    folded = updaters[: len(updaters) - MAX_UPDATERS + 1]
    left = {who: owned for who, owned in managed.items() if who not in folded}
    for who in folded:
        ancient = _Identity(ANCIENT, "Update", managed[who].version, who.subresource)
        found = left.get(ancient)
        fields = managed[who].fields if found is None else found.fields.union(managed[who].fields)
        left[ancient] = _Owned(fields, managed[who].version, managed[who].time)
    return left


# Apply ------------------------------------------------------------------------------------------------


def apply_object(
    writer: Writer,
    live: Mapping[str, Any],
    applied: Mapping[str, Any],
    force: bool,
    ignored: Fields,
    schema_of: Convert,
) -> dict[str, Any]:
    """Return the live object with what was applied, and without what its author no longer applies.

    ``live`` of an object that is not there yet has no fields. ``ignored``: fields that this write cannot own.

    Raises:
        ApiError: 409, naming every field that somebody else owns, unless ``force``.
    """
    node = writer.node
    managed = _decode_or_none(live.get("metadata", {}).get("managedFields"))
    if not managed and live.get("metadata", {}).get("uid"):
        managed = _before_first_apply(writer, live)
    bare = _without_managed(live)
    me = _Identity(writer.manager, "Apply", "", writer.subresource)
    last = managed.get(me)
    mine = fields_of(node, applied).without_below(ignored)
    merged = merge(node, bare, applied)
    managed[me] = _Owned(mine, writer.version, None if last is None else last.time)
    result = merged
    if last is not None and not last.fields.empty:
        result = _prune(node, merged, last.fields, managed, writer.version, schema_of)
    removed, modified, added = difference(node, bare, result)
    removed, modified, added = (_strip(found.without_below(ignored)) for found in (removed, modified, added))
    touched = modified.union(added)
    conflicts = {
        who: owned.fields.intersection(touched)
        for who, owned in managed.items()
        if who != me and not owned.fields.intersection(touched).empty
    }
    if conflicts and not force:
        raise _conflict(conflicts, managed)
    final: _Managed = {}
    for who, owned in managed.items():
        left = _strip(owned.fields) if who == me else owned.fields.difference(touched).difference(removed)
        if not left.empty:
            final[who] = replace(owned, fields=left)
    if result != bare and me in final:
        final[me] = replace(final[me], time=now_seconds(writer.now))
    out = dict(result)
    out["metadata"] = dict(result.get("metadata", {}))
    _put(out["metadata"], final)
    return out


def _without_managed(live: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {name: value for name, value in live.get("metadata", {}).items() if name != "managedFields"}
    return {**live, "metadata": metadata}


def _before_first_apply(writer: Writer, live: Mapping[str, Any]) -> _Managed:
    """Whatever was there before the first apply belongs to a manager of its own."""
    _, _, added = difference(writer.node, {}, _without_managed(live))
    status = Fields()
    status.add(("f:status",))
    fields = _strip(added).without_below(status)
    if fields.empty:
        return {}
    who = _Identity(BEFORE_APPLY, "Update", writer.version, "")
    return {who: _Owned(fields, writer.version, now_seconds(writer.now))}


def _prune(
    node: Node, merged: dict[str, Any], last: Fields, managed: _Managed, version: str, schema_of: Convert
) -> dict[str, Any]:
    """Take away what its last owner dropped."""
    del version, schema_of  # versions of one kind are stored alike; there is no conversion
    pruned = remove(node, merged, named_members(node, last))
    pruned = {} if pruned is MISSING else pruned
    everyones = Fields()
    for owned in managed.values():
        everyones = everyones.union(owned.fields)
    in_merged = named_members(node, fields_of(node, merged))
    in_pruned = named_members(node, fields_of(node, pruned))
    gone = in_merged.difference(in_pruned.union(named_members(node, everyones)))
    pruned = remove(node, merged, gone)
    pruned = {} if pruned is MISSING else pruned
    # What went along with its parent but had never been this manager's comes back.
    in_pruned = named_members(node, fields_of(node, pruned))
    gone = in_merged.difference(in_pruned).intersection(named_members(node, last))
    result = remove(node, merged, gone)
    return {} if result is MISSING else result


def _conflict(conflicts: Mapping[_Identity, Fields], managed: _Managed) -> ApiError:
    causes = []
    texts: dict[str, list[str]] = {}
    for who in sorted(conflicts, key=lambda who: (who.manager, who.operation, who.subresource)):
        label = f'conflict with "{who.manager}"'
        if who.subresource:
            label += f' with subresource "{who.subresource}"'
        if who.operation == "Update":
            label += f" using {managed[who].version}"
        for path in conflicts[who].paths():
            shown = shown_path(path)
            causes.append({"reason": "FieldManagerConflict", "message": label, "field": shown})
            texts.setdefault(label, []).append(shown)
    count = len(causes)
    head = f"Apply failed with {count} conflict{'s' if count > 1 else ''}"
    if len(texts) == 1 and count == 1:
        message = f"{head}: {causes[0]['message']}: {causes[0]['field']}"
    else:
        blocks = [f"{label}:\n" + "\n".join(f"- {path}" for path in paths) for label, paths in texts.items()]
        message = f"{head}: " + "\n".join(blocks)
    return ApiError(409, "Conflict", message, {"causes": causes})
