"""The protobuf form of the few kinds that kubectl sends in no other: reviews, and what ``kubectl create`` makes.

Only reading; answers are JSON, which every client takes. Field numbers are those of the API's published messages.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

__all__ = ["MEDIA", "NotReadable", "decode_protobuf"]

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
MAX_DEPTH = 20


class NotReadable(ValueError):
    """No protobuf of a known kind."""


# A field is (name, type). Types: str, bool, int, bytes, "time", "micro-time", "quantity", a message (dict), a list of
# one of these, or ("map", type) for maps of texts to them.
Message = dict[int, tuple[str, Any]]

_OWNER: Message = {
    **{5: ("apiVersion", str), 1: ("kind", str), 3: ("name", str), 4: ("uid", str)},
    **{6: ("controller", bool), 7: ("blockOwnerDeletion", bool)},
}
_META: Message = {
    **{1: ("name", str), 2: ("generateName", str), 3: ("namespace", str), 5: ("uid", str)},
    **{6: ("resourceVersion", str), 7: ("generation", int), 8: ("creationTimestamp", "time")},
    **{11: ("labels", ("map", str)), 12: ("annotations", ("map", str)), 13: ("ownerReferences", [_OWNER])},
    14: ("finalizers", [str]),
}
_ATTRIBUTES: Message = {
    number: (name, str)
    for number, name in enumerate(("namespace", "verb", "group", "version", "resource", "subresource", "name"), 1)
}
_PATH: Message = {1: ("path", str), 2: ("verb", str)}
_ACCESS: Message = {1: ("resourceAttributes", _ATTRIBUTES), 2: ("nonResourceAttributes", _PATH)}
_SUBJECT_ACCESS: Message = {**_ACCESS, 3: ("user", str), 4: ("groups", [str]), 6: ("uid", str)}
_RULE: Message = {
    number: (name, [str])
    for number, name in enumerate(("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1)
}
_SUBJECT: Message = {1: ("kind", str), 2: ("apiGroup", str), 3: ("name", str), 4: ("namespace", str)}
_ROLE_REF: Message = {1: ("apiGroup", str), 2: ("kind", str), 3: ("name", str)}
_ROLE: Message = {1: ("metadata", _META), 2: ("rules", [_RULE])}
_BINDING: Message = {1: ("metadata", _META), 2: ("subjects", [_SUBJECT]), 3: ("roleRef", _ROLE_REF)}
_REFERENCE: Message = {
    number: (name, str)
    for number, name in enumerate(("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath"), 1)
}
_LEASE: Message = {
    **{1: ("holderIdentity", str), 2: ("leaseDurationSeconds", int), 3: ("acquireTime", "micro-time")},
    **{4: ("renewTime", "micro-time"), 5: ("leaseTransitions", int)},
}
_DELETE: Message = {
    **{1: ("gracePeriodSeconds", int), 2: ("preconditions", {1: ("uid", str), 2: ("resourceVersion", str)})},
    **{3: ("orphanDependents", bool), 4: ("propagationPolicy", str), 5: ("dryRun", [str])},
}


def _with_spec(spec: Message) -> Message:
    return {1: ("metadata", _META), 2: ("spec", spec)}


KINDS: dict[str, Message] = {
    "SelfSubjectAccessReview": _with_spec(_ACCESS),
    "SubjectAccessReview": _with_spec(_SUBJECT_ACCESS),
    "LocalSubjectAccessReview": _with_spec(_SUBJECT_ACCESS),
    "SelfSubjectRulesReview": _with_spec({1: ("namespace", str)}),
    "SelfSubjectReview": {1: ("metadata", _META)},
    "TokenReview": _with_spec({1: ("token", str), 2: ("audiences", [str])}),
    "Namespace": _with_spec({1: ("finalizers", [str])}),
    "ConfigMap": {
        **{1: ("metadata", _META), 2: ("data", ("map", str)), 3: ("binaryData", ("map", bytes))},
        4: ("immutable", bool),
    },
    "Secret": {
        **{1: ("metadata", _META), 2: ("data", ("map", bytes)), 3: ("type", str)},
        **{4: ("stringData", ("map", str)), 5: ("immutable", bool)},
    },
    "ServiceAccount": {
        **{1: ("metadata", _META), 2: ("secrets", [_REFERENCE]), 3: ("imagePullSecrets", [{1: ("name", str)}])},
        4: ("automountServiceAccountToken", bool),
    },
    "ResourceQuota": _with_spec({1: ("hard", ("map", "quantity")), 2: ("scopes", [str])}),
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "Lease": _with_spec(_LEASE),
    "DeleteOptions": _DELETE,
    "Eviction": {1: ("metadata", _META), 2: ("deleteOptions", _DELETE)},
}


def decode_protobuf(raw: bytes) -> dict[str, Any]:
    """Return the object in a body.

    Raises:
        NotReadable: Damaged, or of a kind that is read as JSON only.
    """
    if not raw.startswith(_MAGIC):
        raise NotReadable("the body does not begin like protobuf")
    envelope = dict(_fields(raw[len(_MAGIC) :]))
    names, inner = envelope.get(1), envelope.get(2, b"")
    if not isinstance(names, bytes) or not isinstance(inner, bytes):
        raise NotReadable("the envelope is damaged")
    version, kind = (_text(dict(_fields(names)).get(number, b"")) for number in (1, 2))
    message = KINDS.get(kind)
    if message is None:
        raise NotReadable(f"objects of kind {kind} are read as JSON or YAML only")
    return {"apiVersion": version, "kind": kind, **_message(message, inner, 0)}


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(raw) or shift > 63:
            raise NotReadable("a number is damaged")
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(raw, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise NotReadable(f"wire type {wire} is not known")
        if at + size > len(raw):
            raise NotReadable("the body is cut short")
        yield number, raw[at : at + size]
        at += size


def _message(message: Message, raw: bytes, depth: int) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise NotReadable("nested too deeply")
    found: dict[str, Any] = {}
    for number, value in _fields(raw):
        if number not in message:
            continue
        name, kind = message[number]
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(kind[0], value, depth))
        elif isinstance(kind, tuple):
            entry = dict(_fields(_bytes(value)))
            key = _text(entry.get(1, b""))
            found.setdefault(name, {})[key] = _value(kind[1], entry.get(2, b""), depth)
        else:
            found[name] = _value(kind, value, depth)
    return {name: value for name, value in found.items() if value not in ("", None)}


def _value(kind: Any, value: int | bytes, depth: int) -> Any:
    if kind is bool or kind is int:
        if not isinstance(value, int):
            raise NotReadable("a number was expected")
        signed = value - (1 << 64) if value >= 1 << 63 else value
        return bool(value) if kind is bool else signed
    raw = _bytes(value)
    if kind is str:
        return _text(raw)
    if kind is bytes:
        return base64.b64encode(raw).decode()
    if kind == "quantity":
        return _text(dict(_fields(raw)).get(1, b""))
    if kind in ("time", "micro-time"):
        return _time(raw, kind)
    return _message(kind, raw, depth + 1)


def _time(raw: bytes, kind: str) -> str | None:
    if not raw:
        return None
    parts = dict(_fields(raw))
    seconds, nanos = parts.get(1, 0), parts.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        raise NotReadable("a time is damaged")
    try:
        moment = datetime.fromtimestamp(seconds, timezone.utc).replace(microsecond=nanos // 1000)
    except (OverflowError, ValueError, OSError):
        raise NotReadable("a time is out of range") from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if kind == "time" else "%Y-%m-%dT%H:%M:%S.%fZ")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise NotReadable("bytes were expected")
    return value


def _text(value: int | bytes) -> str:
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise NotReadable("a text is no UTF-8") from None
