"""The protobuf form of the few kinds that kubectl sends in no other: reviews, and what ``kubectl create`` makes.

Only reading; answers are JSON, which every client takes. Field numbers are those of the API's published messages.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from rayctl.embedded.apiserver.protobuf_kinds import KINDS, Message

__all__ = ["MEDIA", "NotReadable", "decode_protobuf"]

MEDIA = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
MAX_DEPTH = 20


class NotReadable(ValueError):
    """No protobuf of a known kind."""


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
            if not _is_blank(value, depth):
                raise NotReadable(f"field {number} is read as JSON or YAML only")
            continue
        name, kind = message[number]
        if isinstance(kind, list):
            found.setdefault(name, []).append(_value(kind[0], value, depth))
        elif not isinstance(kind, tuple):
            found[name] = _value(kind, value, depth)
        elif kind[0] == "inline":
            found.update(_message(kind[1], _bytes(value), depth + 1))
        else:
            entry = dict(_fields(_bytes(value)))
            key = _text(entry.get(1, b""))
            found.setdefault(name, {})[key] = _value(kind[1], entry.get(2, b""), depth)
    return {name: value for name, value in found.items() if value not in ("", None)}


def _is_blank(value: int | bytes, depth: int) -> bool:
    """Whether a field says nothing: fields that are not set are sent as well, some of them as messages of such."""
    if not value:
        return True
    if isinstance(value, int) or depth > MAX_DEPTH:
        return False
    try:
        return all(number and _is_blank(inner, depth + 1) for number, inner in _fields(value))
    except NotReadable:
        return False


def _value(kind: Any, value: int | bytes, depth: int) -> Any:
    if kind == "skip":
        return None
    if kind is bool or kind is int or kind in ("flag", "count"):
        return _number(kind, value)
    raw = _bytes(value)
    if kind is str:
        return _text(raw)
    if kind is bytes:
        return base64.b64encode(raw).decode()
    if kind == "quantity":
        return _text(dict(_fields(raw)).get(1, b""))
    if kind == "int-or-string":
        parts = dict(_fields(raw))
        return _text(parts.get(3, b"")) if parts.get(1) else _number(int, parts.get(2, 0))
    if kind in ("time", "micro-time"):
        return _time(raw, kind)
    return _message(kind, raw, depth + 1)


def _number(kind: Any, value: int | bytes) -> int | bool | None:
    if not isinstance(value, int):
        raise NotReadable("a number was expected")
    if not value and kind in ("flag", "count"):
        return None
    signed = value - (1 << 64) if value >= 1 << 63 else value
    return bool(value) if kind in (bool, "flag") else signed


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
