"""Tables on their way to the service: what callers may pass, and the form in which it travels.

Kinds of objects are told apart by the name of their module, so that passing a path imports neither
pandas nor Arrow.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rayctl.errors import InvalidData, InvalidRequest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ARROW_STREAM", "Payload", "for_http", "for_ray", "is_uri", "source_of", "to_arrow"]

CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW_STREAM = "application/vnd.apache.arrow.stream"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SUFFIXES = {CSV: ".csv", PARQUET: ".parquet", ARROW_STREAM: ".arrow"}


@dataclass(frozen=True)
class Payload:
    """A file's worth of bytes, in memory or on disk, that can be opened as often as it has to be sent."""

    content_type: str
    content: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    @property
    def filename(self) -> str:
        """A name whose suffix tells the format."""
        return self.path.name if self.path is not None else "data" + _SUFFIXES[self.content_type]

    def open(self) -> BinaryIO:
        """Open for reading. Raises InvalidData when the file is gone or forbidden."""
        if self.path is None:
            return io.BytesIO(self.content or b"")
        try:
            return self.path.open("rb")
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def read(self) -> bytes:
        """Return all of it."""
        with self.open() as stream:
            return stream.read()


def is_uri(text: str) -> bool:
    """Whether a text names data that the service fetches itself (``s3://…``, or anything after ``uri:``)."""
    return text.startswith(("uri:", "upload:")) or _SCHEME.match(text) is not None


def source_of(data: Any) -> dict[str, Any] | None:
    """Return the `DataSource` fields for data that does not travel with the request; None for data that does."""
    if isinstance(data, str) and is_uri(data):
        kind, _, rest = data.partition(":")
        return {kind: rest} if kind in ("uri", "upload") else {"uri": data}
    if isinstance(data, Mapping):
        return {"columns": {str(name): list(values) for name, values in data.items()}}
    return None


def for_http(data: Any) -> Payload:
    """Return the bytes to upload.

    Raises:
        InvalidRequest: Ray objects, which exist inside a Ray cluster only, and unknown types.
        InvalidData: a file that cannot be read, or a frame that has no Arrow form.
    """
    if isinstance(data, Payload):
        return data
    if isinstance(data, (bytes, bytearray, memoryview)):
        return _from_bytes(bytes(data))
    if isinstance(data, (str, Path)):
        return _from_path(Path(data).expanduser())
    if _is_object_ref(data) or _is_ray_dataset(data):
        raise InvalidRequest(
            f"A Ray {type(data).__name__} cannot be sent over HTTP.",
            code="needs-ray",
            hint="Connect with ray://host:10001, or pass the table itself.",
        )
    return Payload(ARROW_STREAM, content=_stream_bytes(to_arrow(data)))


def for_ray(data: Any) -> Any:
    """Return the argument for the actor: an Arrow table, bytes, a list of one object reference, or a Dataset."""
    if data is None or _is_ray_dataset(data):
        return data
    if _is_object_ref(data):
        return [data]  # inside a list Ray passes the reference on instead of copying the value to the caller
    if isinstance(data, (Payload, bytes, bytearray, memoryview, str, Path)):
        return for_http(data).read()
    return to_arrow(data)


def to_arrow(data: Any) -> pa.Table:
    """Return a table as an Arrow table without pandas' own metadata: a frame, an Arrow table, a list of rows.

    A named pandas index becomes a column, an unnamed one is dropped.

    Raises:
        InvalidData: as `rayctl.automl.ingest.to_table`.
    """
    from rayctl.automl.ingest import to_table

    return to_table(data).replace_schema_metadata(None)


def _from_path(path: Path) -> Payload:
    if path.is_dir():
        raise InvalidData(f"{path} is a folder.", code="unreadable-file", hint="Name one CSV, Parquet or Arrow file.")
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except OSError as error:
        raise _unreadable(path, error) from error
    if head[:6] == b"ARROW1":
        return _from_bytes(path.read_bytes())
    return Payload(_sniff(head), path=path)


def _from_bytes(content: bytes) -> Payload:
    if content[:6] == b"ARROW1":  # the file format; the service reads the stream format
        import pyarrow as pa

        try:
            table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
        except pa.ArrowException as error:
            raise InvalidData(f"The Arrow file cannot be read: {error}", code="not-a-table") from error
        return Payload(ARROW_STREAM, content=_stream_bytes(table))
    return Payload(_sniff(content[:16]), content=content)


def _sniff(head: bytes) -> str:
    """The format by its first bytes, which are right more often than a file's name."""
    if head[:4] == b"PAR1":
        return PARQUET
    return ARROW_STREAM if head[:4] == b"\xff\xff\xff\xff" else CSV


def _stream_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _unreadable(path: Path, error: OSError) -> InvalidData:
    return InvalidData(
        f"{path} cannot be read: {error.strerror or error}.",
        code="unreadable-file",
        hint="A file that only the service can see is named as uri:/path or with its scheme (s3://…).",
    )


def _is_object_ref(data: Any) -> bool:
    return type(data).__name__ in ("ObjectRef", "ClientObjectRef") and _is_ray(data)


def _is_ray_dataset(data: Any) -> bool:
    return type(data).__name__ in ("Dataset", "MaterializedDataset") and _is_ray(data)


def _is_ray(data: Any) -> bool:
    return type(data).__module__.partition(".")[0] == "ray"
