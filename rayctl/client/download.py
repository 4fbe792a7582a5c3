"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rayctl.errors import InvalidRequest, RayctlError

__all__ = ["atomic_file", "save"]


def save(
    pieces: Iterable[bytes], name: str, path: str | Path, sha256: str | None = None, size: int | None = None
) -> Path:
    """Write the pieces to ``path`` (or into that folder, under ``name``) and return the file's path.

    Raises:
        RayctlError: length or checksum is wrong; nothing is left behind then.
        InvalidRequest: the place cannot be written.
    """
    is_folder = str(path).endswith(os.sep)  # a Path has lost its last separator
    path = Path(path)
    if is_folder or path.is_dir():
        # Names come from the service; only the last part may decide where something is written.
        path = path / (PurePosixPath(name).name or "artifact")
    digest = hashlib.sha256()
    written = 0
    with atomic_file(path) as stream:
        for piece in pieces:
            stream.write(piece)
            digest.update(piece)
            written += len(piece)
        if size is not None and written != size:
            raise RayctlError(f"{name} came with {written} of {size} bytes.", code="incomplete", hint="Try again.")
        if sha256 and digest.hexdigest() != sha256:
            raise RayctlError(f"{name} came with a wrong checksum.", code="checksum-mismatch", hint="Try again.")
    return path


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends without an error."""
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be written: {error.strerror or error}.", code="unwritable-file") from error
    finally:
        with suppress(OSError):  # the error that led here is the one to tell
            temporary.unlink(missing_ok=True)
