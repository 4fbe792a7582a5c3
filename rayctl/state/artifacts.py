"""The artifact store: data tables, models, leaderboards and predictions as files behind fsspec.

Keys are relative paths such as ``runs/<id>/model.zip``. A file is either there whole or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from rayctl.errors import NotFound, Unavailable

__all__ = ["ArtifactStore", "ListedFile", "StoredArtifact"]

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class StoredArtifact:
    """A file in the store: its key, size in bytes, and sha256 (hex)."""

    key: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ListedFile:
    """A file that `ArtifactStore.list` found: key, size in bytes, when it was changed (seconds since the epoch)."""

    key: str
    bytes: int
    changed_at: float


class ArtifactStore:
    """Files below one fsspec URL (``file:///…``, ``s3://…``, ``memory://…``)."""

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        self._fs, self._root = fsspec.core.url_to_fs(url)
        protocol = self._fs.protocol if isinstance(self._fs.protocol, str) else self._fs.protocol[0]
        self.is_local = protocol in ("file", "local")

    def _path(self, key: str) -> str:
        if not _KEY.fullmatch(key):
            raise NotFound(f"There is no artifact {key!r}.", code="artifact-not-found")
        return f"{self._root}/{key}"

    def put(self, key: str, data: bytes | memoryview, *, durable: bool = True) -> StoredArtifact:
        """Write a file; it appears under its key only when it is complete.

        ``durable`` False: do not wait for the disk. For what can be made again after a power cut.

        Raises:
            Unavailable: no space, no permission, or the store is away.
        """
        path = self._path(key)
        digest = hashlib.sha256(data).hexdigest()
        try:
            if self.is_local:
                _write_atomically(Path(path), data, durable)
            else:
                self._fs.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
                self._fs.pipe_file(path, bytes(data))
        except OSError as error:
            raise _unavailable(error, "written") from error
        return StoredArtifact(key=key, bytes=len(data), sha256=digest)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a file or a part of it.

        Raises:
            NotFound: there is no such file. Unavailable: the store did not answer.
        """
        path = self._path(key)
        end = None if length is None else offset + length
        try:
            return bytes(self._fs.cat_file(path, start=offset or None, end=end))
        except FileNotFoundError as error:
            raise NotFound(f"There is no artifact {key!r}.", code="artifact-not-found") from error
        except OSError as error:
            raise _unavailable(error, "read") from error

    def list(self, prefix: str) -> list[ListedFile]:
        """Return the files below a prefix, by key; an empty list if there are none.

        Raises:
            Unavailable: the store did not answer.
        """
        path = self._path(prefix)
        try:
            found = self._fs.find(path, detail=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unavailable(error, "read") from error
        cut = len(self._root) + 1
        return [
            ListedFile(name[cut:], int(entry.get("size") or 0), _seconds(entry))
            for name, entry in sorted(found.items())
            if not name.rsplit("/", 1)[1].startswith(".")
        ]

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.exists(self._path(key)))

    def delete(self, prefix: str) -> None:
        """Remove a file, or every file below a prefix. Removing what is not there is fine."""
        path: Any = self._path(prefix)
        try:
            if self._fs.exists(path):
                self._fs.rm(path, recursive=True)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(error, "deleted") from error


def _write_atomically(path: Path, data: bytes | memoryview, durable: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _seconds(entry: dict[str, Any]) -> float:
    """Return when a listed file was changed; file systems name and type that differently."""
    changed = entry.get("mtime") or entry.get("LastModified") or entry.get("created") or 0.0
    return float(changed.timestamp() if hasattr(changed, "timestamp") else changed)


def _unavailable(error: OSError, verb: str) -> Unavailable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Free space on the disk that holds the artifacts." if full else "Check RAYCTL_ARTIFACT_URL and its rights."
    return Unavailable(
        f"The artifact store cannot be {verb}: {error.strerror or type(error).__name__}.",
        code="artifact-disk-full" if full else "artifact-store-unavailable",
        hint=advice,
        retry_after_s=5,
    )
