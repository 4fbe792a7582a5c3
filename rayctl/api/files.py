"""Files of runs on their way out: their type, and their bytes piece by piece."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator

from rayctl.automl.port import AutoMLService
from rayctl.errors import Unavailable

__all__ = ["CHUNK", "content_type", "pieces"]

CHUNK = 4 * 1024 * 1024

# Said here, because what the machine's own table says differs between machines.
_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "zip": "application/zip",
}


def content_type(name: str) -> str:
    """Return the media type of a file by its name."""
    known = _TYPES.get(name.rpartition(".")[2].lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"


async def pieces(
    service: AutoMLService, run_id: str, name: str, first: bytes, size: int | None, tenant: str | None
) -> AsyncIterator[bytes]:
    """Yield an artifact from its first piece on.

    Raises:
        Unavailable: it ended before ``size`` bytes. This breaks the connection: the receiver must not take what it has
            for the whole file.
    """
    chunk, sent = first, 0
    while chunk:
        yield chunk
        sent += len(chunk)
        if sent == size or len(chunk) < CHUNK:
            break
        chunk = await service.artifact(run_id, name, offset=sent, length=CHUNK, tenant=tenant)
    if size is not None and sent != size:
        raise Unavailable(f"The artifact ended after {sent} of {size} bytes.")
