"""Secrets are stored encrypted if there is a key: AES-256-GCM, the key in a file outside the data folder.

It protects copies of the data folder, such as backups. Whoever can read the key file or ask the server reads Secrets.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from rayctl.embedded.apiserver.kubeconfig import write_private

__all__ = ["SEALED", "Key", "Sealer", "is_sealed", "read_key"]

Key = tuple[str, str, str]
"""(resource, namespace, name)"""
SEALED = "secrets"
"""The resource whose objects are encrypted."""
_PREFIX = b"rayctl:aesgcm:1:"
_NONCE_BYTES = 12
KEY_BYTES = 32


def read_key(path: Path) -> bytes:
    """Return the key in a file (64 hexadecimal digits); a new one is made, with mode 0600, where there is no file.

    Raises:
        OSError: It can be neither read nor made.
        ValueError: It holds no key, or others may read it.
    """
    with contextlib.suppress(FileNotFoundError):
        if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            raise ValueError(f"others may read {path}; use: chmod 600 {path}")
        text = path.read_text().strip()
        with contextlib.suppress(ValueError):
            key = bytes.fromhex(text)
            if len(key) == KEY_BYTES:
                return key
        raise ValueError(f"{path} does not hold {2 * KEY_BYTES} hexadecimal digits")
    key = secrets.token_bytes(KEY_BYTES)
    write_private(path, key.hex() + "\n")
    return key


def is_sealed(value: bytes) -> bool:
    """Whether a stored value is encrypted."""
    return value.startswith(_PREFIX)


class Sealer:
    """Encrypts and decrypts stored values; each is bound to its object's key. ``key``: 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, key: Key, value: bytes) -> bytes:
        """Return the encrypted value."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _PREFIX + nonce + self._cipher.encrypt(nonce, value, "\0".join(key).encode())

    def open(self, key: Key, value: bytes) -> bytes:
        """Return the value that was encrypted.

        Raises:
            ValueError: With another key, or as another object, or it was changed.
        """
        at = len(_PREFIX) + _NONCE_BYTES
        try:
            return self._cipher.decrypt(value[len(_PREFIX) : at], value[at:], "\0".join(key).encode())
        except InvalidTag:
            raise ValueError(f"the Secret {key[1]}/{key[2]} cannot be decrypted with this key") from None
