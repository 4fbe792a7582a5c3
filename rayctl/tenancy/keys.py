"""The key that envelopes are signed with, where the operator has one: a file that clients and workers may read."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from rayctl.errors import InvalidRequest

__all__ = ["KEY_FILE_VARIABLE", "signing_key"]

KEY_FILE_VARIABLE = "RAYCTL_ENVELOPE_KEY_FILE"
"""Names the file. Set in a cluster's environment, its workers refuse envelopes that are not signed with the key."""

_LEAST = 16


def signing_key() -> bytes | None:
    """Return the key of this process; None: envelopes are neither signed nor is a signature demanded.

    Raises:
        InvalidRequest: ``invalid-key``: the file cannot be read, or is too short for a key.
    """
    path = os.environ.get(KEY_FILE_VARIABLE)
    return _read(path) if path else None


@lru_cache(maxsize=8)
def _read(path: str) -> bytes:
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        raise InvalidRequest(
            f"The key of {KEY_FILE_VARIABLE} cannot be read: {path}: {error.strerror}.", code="invalid-key"
        ) from None
    if len(key) < _LEAST:
        raise InvalidRequest(
            f"The key in {path} has {len(key)} bytes; at least {_LEAST} are needed.",
            code="invalid-key",
            hint="Make one with: head -c 32 /dev/urandom | base64",
        )
    return key
