"""The tenants of a service: what may be registered, under which rules, and as which version. Used by the proxy.

Documents come in as plain values (JSON) or as an envelope (every type that can travel); they are checked against the
form and against the operator's policy before anything is written.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from rayctl.clock import iso
from rayctl.errors import InvalidRequest, RayctlError
from rayctl.state.quota import Bounds
from rayctl.tenancy.codec import KIND, body_of, decode, parse, read, to_envelope
from rayctl.tenancy.envelope import Envelope
from rayctl.tenancy.frozen import thaw
from rayctl.tenancy.keys import signing_key
from rayctl.tenancy.load import differences
from rayctl.tenancy.model import SCHEMA, Quota, TenantConfig
from rayctl.tenancy.policy import Policy, check

if TYPE_CHECKING:
    from rayctl.state.tenants import TenantStore, TenantVersion

__all__ = ["TenantRegistry", "bounds_of", "jsonable"]

log = logging.getLogger(__name__)


def bounds_of(quota: Quota) -> Bounds:
    """Return what of a quota is counted when a run is accepted."""
    return Bounds(quota.max_running, quota.max_queued, quota.max_stored_bytes)


def jsonable(config: TenantConfig) -> dict[str, Any]:
    """Return a configuration as JSON values, for people; types that JSON lacks become texts."""
    found: dict[str, Any] = to_jsonable_python(thaw(body_of(config)), fallback=str)
    return found


class TenantRegistry:
    """Synchronous; the proxy calls it from threads.

    Args:
        store: Where versions are kept.
        policy: The operator's rules.
    """

    def __init__(self, store: TenantStore, policy: Policy) -> None:
        self._store = store
        self._policy = policy

    # Writing ------------------------------------------------------------------------------------------

    def check(self, document: Mapping[str, Any] | bytes) -> TenantConfig:
        """Return the configuration that a document means, without keeping it.

        Raises:
            InvalidRequest: ``invalid-tenant-config``, ``invalid-packages``.
            Forbidden: ``tenant-policy``.
        """
        config = read(bytes(document)) if isinstance(document, (bytes, bytearray)) else parse(document)
        check(config, self._policy)
        return config

    def put(
        self,
        document: Mapping[str, Any] | bytes,
        now: float,
        *,
        expected: int | None = None,
        author: str = "",
        note: str = "",
    ) -> dict[str, Any]:
        """Register a tenant, or its next version; returns the version's document. See `TenantStore.put`."""
        return self._write(self.check(document), now, expected, author, note)

    def rollback(
        self, tenant: str, version: int, now: float, *, expected: int | None = None, author: str = "", note: str = ""
    ) -> dict[str, Any]:
        """Make an earlier version the newest one, as a new version with the same contents.

        Raises:
            NotFound: no such tenant or version. Conflict: see `TenantStore.put`.
            Forbidden: today's policy does not allow what that version asks for.
        """
        config = decode(self._store.get(tenant, version).envelope)
        check(config, self._policy)
        return self._write(config, now, expected, author, note or f"back to version {version}")

    def _write(self, config: TenantConfig, now: float, expected: int | None, author: str, note: str) -> dict[str, Any]:
        envelope = to_envelope(config, now)
        written = self._store.put(
            config.tenant,
            envelope.encode(),
            envelope.header.fingerprint,
            now,
            expected=expected,
            author=_short(author, "author", 200),
            note=_short(note, "note", 2000),
        )
        return self._document(written, config)

    def delete(self, tenant: str, now: float) -> None:
        """Remove a tenant. Raises NotFound, Conflict (``tenant-in-use``)."""
        self._store.delete(tenant, now)

    # Looking ------------------------------------------------------------------------------------------

    def get(self, tenant: str, version: int | None = None) -> dict[str, Any]:
        """Return a version with what its tenant uses now. Raises NotFound."""
        found = self._store.get(tenant, version)
        return self._document(found, decode(found.envelope)) | {"usage": asdict(self._store.usage(tenant))}

    def history(self, tenant: str) -> list[dict[str, Any]]:
        """Return what changed with each version, newest first. Raises NotFound."""
        versions = self._store.history(tenant)
        configs = [decode(found.envelope) for found in versions]
        documents = []
        for place, (found, config) in enumerate(zip(versions, configs, strict=True)):
            before = configs[place + 1] if place + 1 < len(configs) else None
            changes = to_jsonable_python([asdict(change) for change in differences(before, config)], fallback=str)
            documents.append({**_brief(found), "changes": changes})
        return documents

    def current(self, tenant: str) -> tuple[int, TenantConfig] | None:
        """Return (version, configuration) that count now; None: nothing is registered under this name."""
        found = self._store.find(tenant)
        return None if found is None else (found.version, decode(found.envelope))

    def envelope(self, tenant: str, version: int) -> bytes:
        """Return the bytes that carry a version, signed if there is a key. Raises NotFound."""
        stored = self._store.get(tenant, version).envelope
        key = signing_key()
        return stored if key is None else Envelope.decode(stored, KIND, SCHEMA)[0].encode(key)

    def quotas(self) -> dict[str, Quota]:
        """Return the quotas of all tenants whose configuration can be read.

        One that cannot (its row was damaged) is in the log, and refused where it is used; the others must not suffer.
        """
        quotas = {}
        for found in self._store.list():
            try:
                quotas[found.tenant] = decode(found.envelope).quota
            except RayctlError as error:
                log.error("tenant %s, version %d, cannot be read: %s", found.tenant, found.version, error.message)
        return quotas

    def list(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return the current versions of all tenants, or of one."""
        return [self._document(found, decode(found.envelope)) for found in self._store.list(tenant)]

    @staticmethod
    def _document(found: TenantVersion, config: TenantConfig) -> dict[str, Any]:
        return {**_brief(found), "config": jsonable(config), "envelope": base64.b64encode(found.envelope).decode()}


def _brief(found: TenantVersion) -> dict[str, Any]:
    return {
        "tenant": found.tenant,
        "version": found.version,
        "fingerprint": found.fingerprint,
        "created_at": iso(found.created_at),
        "author": found.author,
        "note": found.note,
    }


def _short(text: str, what: str, most: int) -> str:
    if len(text) > most:
        raise InvalidRequest(f"The {what} has {len(text)} characters; at most {most} are kept.", code="text-too-long")
    return text
