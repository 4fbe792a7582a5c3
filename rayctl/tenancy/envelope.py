"""The envelope: a tenant's configuration as bytes that can be checked, migrated and handed to any process.

Outside it is a msgpack list of four: the text ``rayctl.envelope/1``, the payload as bytes, the payload's sha256, and
a signature (HMAC-SHA256 of the payload) or nil. The payload is a msgpack map: ``kind``, ``schema`` ([major, minor]),
``tenant``, ``fingerprint`` (sha256 of the body, so equal configurations have equal ones), ``created_at`` (seconds
since the epoch), ``writer`` (version of rayctl) and ``body`` (msgpack again, as bytes, so that it is packed once and
only unpacked where somebody asks for what it says). Every bit counts in the digest or in the one accepted way of
writing around it.

Reading never executes or imports anything. Nothing in it is secret: secrets are references.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgpack

from rayctl.errors import MalformedEnvelope, TamperedEnvelope, TooLarge, UnsupportedEnvelope
from rayctl.tenancy.migrate import migrate
from rayctl.tenancy.wire import pack, sorted_deep, unpack

__all__ = ["MAX_ENVELOPE_BYTES", "Envelope", "Header", "fingerprint_of", "peek"]

MAGIC = "rayctl.envelope/1"
MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
_FIELDS = frozenset({"kind", "schema", "tenant", "fingerprint", "created_at", "writer", "body"})


@dataclass(frozen=True)
class Header:
    """What an envelope says about itself. ``unknown``: fields of a newer version, written again as they came."""

    kind: str
    schema: tuple[int, int]
    tenant: str
    fingerprint: str
    created_at: float
    writer: str
    unknown: Mapping[str, Any] = field(default_factory=dict)


def fingerprint_of(kind: str, major: int, packed: bytes) -> str:
    """Return the sha256 of what is said (a packed body), whenever and by whichever version it was written."""
    return sha256(msgpack.packb([kind, major]) + packed).hexdigest()


@dataclass(frozen=True)
class Envelope:
    """A header and a body, as read or to be written. ``packed``: the body as msgpack, its keys in order."""

    header: Header
    packed: bytes

    @classmethod
    def of(
        cls, kind: str, schema: tuple[int, int], tenant: str, body: Mapping[str, Any], created_at: float, writer: str
    ) -> Envelope:
        """Return a new envelope. Raises MalformedEnvelope if the body has a value without a form in msgpack."""
        return cls.of_packed(kind, schema, tenant, pack(sorted_deep(body)), created_at, writer)

    @classmethod
    def of_packed(
        cls, kind: str, schema: tuple[int, int], tenant: str, packed: bytes, created_at: float, writer: str
    ) -> Envelope:
        """Return a new envelope around a body that was packed before, its keys in order."""
        return cls(Header(kind, schema, tenant, fingerprint_of(kind, schema[0], packed), created_at, writer), packed)

    @property
    def body(self) -> dict[str, Any]:
        """The body as plain values. Raises MalformedEnvelope if it is not readable, which `decode` has made sure of."""
        found = unpack(self.packed)
        if type(found) is not dict:
            raise MalformedEnvelope("The envelope's body is no mapping.", code="not-readable")
        return found

    def encode(self, key: bytes | None = None) -> bytes:
        """Return the bytes; ``key``: sign them with it.

        Raises:
            MalformedEnvelope: ``not-serializable``.
            TooLarge: more than `MAX_ENVELOPE_BYTES`.
        """
        header = self.header
        fields = {
            "body": self.packed,
            "created_at": header.created_at,
            "fingerprint": header.fingerprint,
            "kind": header.kind,
            "schema": list(header.schema),
            "tenant": header.tenant,
            "writer": header.writer,
        }
        if header.unknown:
            fields = sorted_deep(fields | dict(header.unknown))
        payload = pack(fields)
        mac = None if key is None else hmac.digest(key, payload, "sha256")
        data: bytes = msgpack.packb([MAGIC, payload, sha256(payload).digest(), mac])
        _check_size(data)
        return data

    @classmethod
    def open(cls, data: bytes, kind: str, schema: tuple[int, int], *, key: bytes | None = None) -> Envelope:
        """Check an envelope and return it; its body is intact then, but nobody has looked at what it says.

        Args:
            data: What `encode` gave.
            kind: What it has to be.
            schema: The version that the reader knows. A higher minor is fine, a higher major is not.
            key: It has to be signed with this key.

        Raises:
            MalformedEnvelope: ``not-readable``: these are not an envelope's bytes.
            TamperedEnvelope: the digest, the fingerprint or the signature is wrong, or the signature missing.
            UnsupportedEnvelope: another kind, or a newer major version.
            TooLarge: more than `MAX_ENVELOPE_BYTES`.
        """
        header, packed = _read(_open(data, key))
        if header.kind != kind:
            raise UnsupportedEnvelope(
                f"This envelope holds {header.kind!r}, not {kind!r}.",
                code="wrong-kind",
                hint="Hand over the object that this call expects.",
            )
        if header.schema[0] > schema[0]:
            raise UnsupportedEnvelope(
                f"This {kind} was written by rayctl {header.writer} in version {header.schema[0]}.{header.schema[1]}; "
                f"this process reads up to version {schema[0]}.",
                code="newer-version",
                hint="Upgrade rayctl here, or let the other side write the older version.",
            )
        if header.fingerprint != fingerprint_of(header.kind, header.schema[0], packed):
            raise TamperedEnvelope("The envelope's fingerprint is not that of its body.", code="wrong-fingerprint")
        return cls(header, packed)

    @classmethod
    def decode(
        cls,
        data: bytes,
        kind: str,
        schema: tuple[int, int],
        *,
        key: bytes | None = None,
        migrations: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] | None = None,
    ) -> tuple[Envelope, dict[str, Any]]:
        """Check an envelope as `open` does, read its body, and bring an older one up to ``schema``. Returns both.

        ``migrations``: major version → function that brings a body from it to the next one (default: those of
        `rayctl.tenancy.migrate` for this kind).

        Raises:
            MalformedEnvelope, TamperedEnvelope, TooLarge: see `open`.
            UnsupportedEnvelope: also ``too-old``: a version that cannot be migrated.
        """
        found = cls.open(data, kind, schema, key=key)
        body, major = found.body, found.header.schema[0]
        if major == schema[0]:
            return found, body
        body = migrate(kind, body, major, schema[0], migrations)
        return cls.of(kind, schema, found.header.tenant, body, found.header.created_at, found.header.writer), body


def peek(data: bytes) -> Header:
    """Return the header of intact bytes of any kind and version, for tools and messages."""
    return _read(_open(data, None, signature_matters=False))[0]


def _check_size(data: bytes) -> None:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise TooLarge(
            f"The envelope has {len(data):,} bytes; at most {MAX_ENVELOPE_BYTES:,} are allowed.",
            code="envelope-too-large",
            hint="Put data into files or the object store, and their address into the configuration.",
        )


def _open(data: bytes, key: bytes | None, signature_matters: bool = True) -> bytes:
    """Return the payload of intact bytes."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise MalformedEnvelope(f"An envelope is bytes, not {type(data).__name__}.", code="not-readable")
    data = bytes(data)
    _check_size(data)
    try:
        outer = msgpack.unpackb(data, raw=False, strict_map_key=True)
        magic, payload, digest, mac = outer
        canonical = msgpack.packb([magic, payload, digest, mac]) == data
    except Exception as error:
        # Whatever msgpack says of broken bytes: it has many types for that.
        raise MalformedEnvelope("These bytes are not an envelope.", code="not-readable") from error
    sound = type(magic) is str and type(payload) is bytes and type(digest) is bytes and type(mac) in (bytes, type(None))
    if not canonical or not sound or magic != MAGIC:
        raise MalformedEnvelope("These bytes are not an envelope.", code="not-readable")
    if not hmac.compare_digest(sha256(payload).digest(), digest):
        raise TamperedEnvelope("The envelope was changed or cut: its digest is wrong.", code="wrong-digest")
    if signature_matters:
        _check_signature(payload, mac, key)
    return payload


def _check_signature(payload: bytes, mac: bytes | None, key: bytes | None) -> None:
    if key is None:
        return
    if mac is None:
        raise TamperedEnvelope(
            "The envelope is not signed, and this process only trusts signed ones.",
            code="not-signed",
            hint="Let the sender sign it with the cluster's key.",
        )
    if not hmac.compare_digest(hmac.digest(key, payload, "sha256"), mac):
        raise TamperedEnvelope("The signature is wrong: another key, or changed bytes.", code="wrong-signature")


def _read(payload: bytes) -> tuple[Header, bytes]:
    fields = _fields(payload)
    if type(fields) is not dict or not fields.keys() >= _FIELDS or list(fields) != sorted(fields):
        raise MalformedEnvelope("The envelope lacks fields that every envelope has.", code="not-readable")
    schema, body, created_at = fields["schema"], fields["body"], fields["created_at"]
    texts = all(type(fields[name]) is str for name in ("kind", "tenant", "fingerprint", "writer"))
    numbers = type(schema) is list and [type(part) for part in schema] == [int, int] and min(schema) >= 0
    if not texts or not numbers or type(created_at) not in (int, float) or type(body) is not bytes:
        raise MalformedEnvelope("The envelope's fields have other types than they must have.", code="not-readable")
    unknown = {name: fields[name] for name in fields.keys() - _FIELDS}
    major, minor = schema
    header = Header(
        fields["kind"], (major, minor), fields["tenant"], fields["fingerprint"], created_at, fields["writer"], unknown
    )
    return header, body


def _fields(payload: bytes) -> Any:
    """Return what the payload says; fast where it is exactly what this version writes, careful elsewhere."""
    try:
        found = msgpack.unpackb(payload, raw=False, strict_map_key=True)
        if found.keys() == _FIELDS and msgpack.packb(found, strict_types=True) == payload:
            return found
    except Exception:  # noqa: S110  (the careful reader says what is wrong)
        pass
    return unpack(payload)
