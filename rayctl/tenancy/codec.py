"""A `TenantConfig` to an envelope and back, each once per process and configuration."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from pydantic import BaseModel, ValidationError

from rayctl import __version__
from rayctl.errors import FieldError, InvalidRequest, MalformedEnvelope
from rayctl.tenancy.envelope import Envelope
from rayctl.tenancy.migrate import migrate
from rayctl.tenancy.model import SCHEMA, TenantConfig, unknown_fields
from rayctl.tenancy.wire import pack, sorted_deep, unpack_frozen

__all__ = [
    "KIND",
    "Received",
    "body_of",
    "config_of",
    "decode",
    "encode",
    "fingerprint",
    "packed_body",
    "parse",
    "read",
    "receive",
    "to_envelope",
]

KIND = "tenant-config"
_KEPT = 256
_KEPT_BYTES = 64 * 1024 * 1024


def body_of(config: TenantConfig) -> dict[str, Any]:
    """Return what was said about a tenant as plain values; fields that were never set are left out."""
    return {name: _plain(getattr(config, name)) for name in _said(config)}


def packed_body(config: TenantConfig) -> bytes:
    """Return the body as msgpack; `TenantConfig.packed` keeps it."""
    return pack(sorted_deep(body_of(config)))


def _said(part: BaseModel) -> list[str]:
    """Names of what was set, in the order of the model's fields, so that people always see them alike."""
    known = [name for name in type(part).model_fields if name in part.model_fields_set]
    return [name for name in (*known, *(part.model_extra or {})) if _worth_saying(getattr(part, name))]


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
    return Received.of(data, key).config


_building = Lock()  # a call sees one and the same object, also among threads that ask for it at once


class Received:
    """An envelope that was handed over and checked; what it says is read when it is first asked for.

    A digest proves that nothing was changed on the way, and a signature who has the key, but neither that the body is
    a valid configuration. So the body is always validated, signed or not, before anybody sees a value of it.
    """

    __slots__ = ("_config", "_envelope", "data")

    def __init__(self, data: bytes, envelope: Envelope) -> None:
        self.data = data
        self._envelope = envelope
        self._config: TenantConfig | None = None

    @classmethod
    def of(cls, data: bytes, key: bytes | None) -> Received:
        """Check the bytes. Raises as `Envelope.open`."""
        return cls(data, Envelope.open(data, KIND, SCHEMA, key=key))

    @property
    def tenant(self) -> str:
        """Whose it is, as the envelope says; `config` makes sure that the configuration says the same."""
        return self._envelope.header.tenant

    @property
    def config(self) -> TenantConfig:
        """The configuration, of the current schema.

        Raises:
            MalformedEnvelope: ``not-readable``: the body is no valid configuration, or another tenant's.
            UnsupportedEnvelope: ``too-old``.
        """
        if self._config is None:
            with _building:
                self._config = self._config or self._build()
        return self._config

    def _build(self) -> TenantConfig:
        config = config_of(self._body())
        if config.tenant != self.tenant:
            raise MalformedEnvelope("The envelope and its configuration name different tenants.", code="not-readable")
        return config

    def _body(self) -> Mapping[str, Any]:
        major = self._envelope.header.schema[0]
        if major != SCHEMA[0]:
            return migrate(KIND, self._envelope.body, major, SCHEMA[0])
        body = unpack_frozen(self._envelope.packed)
        if not isinstance(body, dict):
            raise MalformedEnvelope("The envelope's body is no mapping.", code="not-readable")
        return body


class _Known:
    """Envelopes that this process has checked, by their very bytes and the key: no name, no clock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: OrderedDict[tuple[bytes, bytes | None], Received] = OrderedDict()
        self._bytes = 0

    def get(self, data: bytes, key: bytes | None) -> Received:
        wanted = (data, key)
        with self._lock:
            found = self._found.get(wanted)
            if found is not None:
                self._found.move_to_end(wanted)
                return found
        found = Received.of(data, key)
        with self._lock:
            if wanted not in self._found:
                self._found[wanted] = found
                self._bytes += len(data)
            while len(self._found) > _KEPT or self._bytes > _KEPT_BYTES:
                (dropped, _), _ = self._found.popitem(last=False)
                self._bytes -= len(dropped)
        return found


_known = _Known()  # holds what was passed to calls; never consulted without the bytes of the call at hand


def receive(data: bytes, key: bytes | None = None) -> Received:
    """Check the bytes of an envelope; the same bytes are checked, and read, once per process.

    Raises:
        MalformedEnvelope, TamperedEnvelope, UnsupportedEnvelope, TooLarge: see `Envelope.open`.
    """
    return _known.get(data, key) if type(data) is bytes else Received.of(data, key)


def decode(data: bytes, key: bytes | None = None) -> TenantConfig:
    """Return the configuration that the bytes carry; the same bytes are read once per process.

    Raises:
        MalformedEnvelope, TamperedEnvelope, UnsupportedEnvelope, TooLarge: see `Envelope.open` and `Received.config`.
    """
    return receive(data, key).config
