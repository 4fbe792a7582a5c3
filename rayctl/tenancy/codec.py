"""A `TenantConfig` to an envelope and back, each once per process and configuration."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from threading import Lock
from typing import Any

from pydantic import BaseModel, ValidationError

from rayctl import __version__
from rayctl.errors import FieldError, InvalidRequest, MalformedEnvelope
from rayctl.tenancy.envelope import Envelope
from rayctl.tenancy.model import SCHEMA, TenantConfig, unknown_fields
from rayctl.tenancy.wire import pack, sorted_deep

__all__ = [
    "KIND",
    "body_of",
    "config_of",
    "decode",
    "encode",
    "fingerprint",
    "packed_body",
    "parse",
    "read",
    "to_envelope",
]

KIND = "tenant-config"
_KEPT = 256


def body_of(config: TenantConfig) -> dict[str, Any]:
    """Return what was said about a tenant as plain values; fields that were never set are left out."""
    return {name: _plain(getattr(config, name)) for name in _said(config)}


def packed_body(config: TenantConfig) -> bytes:
    """Return the body as msgpack; `TenantConfig.packed` keeps it."""
    return pack(sorted_deep(body_of(config)))


def _said(part: BaseModel) -> list[str]:
    return [name for name in part.model_fields_set if _worth_saying(getattr(part, name))]


def _worth_saying(value: Any) -> bool:
    return value is not None and not (isinstance(value, BaseModel) and not _said(value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        found = {name: _plain(getattr(value, name)) for name in _said(value)}
        return {name: list(item) if type(item) is tuple else item for name, item in found.items()}
    if isinstance(value, Mapping) and any(isinstance(item, BaseModel) for item in value.values()):
        return {key: _plain(item) for key, item in value.items()}
    return value


def config_of(body: Mapping[str, Any]) -> TenantConfig:
    """Return the configuration of an envelope's body; unknown fields are kept.

    Raises:
        MalformedEnvelope: ``not-readable``: the body is no valid configuration.
    """
    try:
        return TenantConfig.model_validate(dict(body))
    except ValidationError as error:
        problems = "; ".join(f"{item['pointer']}: {item['message']}" for item in field_errors(error))
        message = f"The envelope's configuration is not valid: {problems}"
        raise MalformedEnvelope(message, code="not-readable") from None  # pydantic's own text shows values


def parse(document: Mapping[str, Any]) -> TenantConfig:
    """Return the configuration that somebody wrote; unknown fields are mistakes here.

    Raises:
        InvalidRequest: ``invalid-tenant-config``, with the single places.
    """
    try:
        config = TenantConfig.model_validate(dict(document))
    except ValidationError as error:
        raise _invalid(field_errors(error)) from None  # pydantic's own text shows values
    unknown = [FieldError(pointer=place, message="there is no such field") for place in unknown_fields(config)]
    if unknown:
        raise _invalid(unknown)
    return config


def _invalid(errors: list[FieldError]) -> InvalidRequest:
    first = f"{errors[0]['pointer'] or '/'}: {errors[0]['message']}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidRequest(
        f"The tenant's configuration is not valid: {first}{more}", code="invalid-tenant-config", errors=errors
    )


def field_errors(error: ValidationError) -> list[FieldError]:
    """Return pydantic's findings as places and texts, without the values."""
    found = []
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        pointer = "".join(f"/{part}" for part in item["loc"])
        found.append(FieldError(pointer=pointer, message=str(item["msg"]).removeprefix("Value error, ")))
    return found


def fingerprint(config: TenantConfig) -> str:
    """Return the sha256 of what the configuration says; equal configurations have equal ones."""
    return to_envelope(config, 0.0).header.fingerprint


def to_envelope(config: TenantConfig, created_at: float) -> Envelope:
    """Return the envelope of a configuration. ``created_at``: seconds since the epoch."""
    return Envelope.of_packed(KIND, SCHEMA, config.tenant, config.packed, created_at, __version__)


def encode(config: TenantConfig, key: bytes | None = None, created_at: float | None = None) -> bytes:
    """Return the bytes that carry a configuration; ``key``: sign them.

    Raises:
        MalformedEnvelope: a setting has a value that cannot travel; the message names it.
        TooLarge: see `Envelope.encode`.
    """
    return to_envelope(config, time.time() if created_at is None else created_at).encode(key)


def read(data: bytes, key: bytes | None = None) -> TenantConfig:
    """Return the configuration that the bytes carry, checked and migrated. Raises as `decode`."""
    envelope, body = Envelope.decode(data, KIND, SCHEMA, key=key)
    config = config_of(body)
    if config.tenant != envelope.header.tenant:
        raise MalformedEnvelope("The envelope and its configuration name different tenants.", code="not-readable")
    return config


class _Decoded:
    """Configurations that this process has decoded, by the sha256 of their bytes and key: no name, no clock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[bytes, TenantConfig] = OrderedDict()

    def get(self, data: bytes, key: bytes | None) -> TenantConfig:
        digest = sha256(data + b"\0" + (key or b"")).digest()
        with self._lock:
            config = self._found.get(digest)
            if config is not None:
                self._found.move_to_end(digest)
                return config
        config = read(data, key)
        with self._lock:
            self._found[digest] = config
            while len(self._found) > _KEPT:
                self._found.popitem(last=False)
        return config


_decoded = _Decoded()  # holds what was passed to calls; never consulted without the bytes of the call at hand


def decode(data: bytes, key: bytes | None = None) -> TenantConfig:
    """Return the configuration that the bytes carry; the same bytes are decoded once per process.

    Raises:
        MalformedEnvelope, TamperedEnvelope, UnsupportedEnvelope, TooLarge: see `Envelope.decode`.
    """
    return _decoded.get(data, key)
