"""From whatever a caller sends to one normal form of a table, and its fingerprint.

`to_table` reads frames, dictionaries and files; `normalize` unifies the types, so that the same data gives the same
table (and the same `fingerprint`) whether it came from pandas, polars, Arrow or a file.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayctl.automl.zones import zone_of_offsets
from rayctl.errors import FieldError, InvalidData

__all__ = ["fingerprint", "from_ipc", "normalize", "to_ipc", "to_table"]

_NORMAL_TYPES = (pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.timestamp("us"))
_EXACT = 2**53  # every whole number up to here is a float64
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "NaT", "<NA>"]
_DELIMITERS = ",;\t|"
_LONGEST_BLOCK = 2**31 - 1  # bytes, of Arrow's reader
_NAMELESS = re.compile(r"__index_level_\d+__")
_MOST_DENSE_BYTES = 2**30
_READER_HINTS = {
    "csv": ("CSV", "Save it as UTF-8, every row with as many values as the header has names."),
    "parquet": ("Parquet", "Write the file again, or send the data as CSV."),
    "arrow": ("Arrow", "Write the file again, or send the data as CSV or Parquet."),
}
_HTML = re.compile(rb"<(!doctype|html|\?xml)", re.IGNORECASE)
_OFFSET = r"(?P<offset>[Zz]|[+-]\d{2}(?::?\d{2})?)$"
_NOT_TEXT = {
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "gzip-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"BZh": "bzip2-compressed",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"%PDF": "a PDF document",
    b"FEA1": "a Feather file of version 1",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}


def to_table(data: Any, format: str | None = None) -> pa.Table:
    """Return the data as an Arrow table; types are as the source has them (see `normalize`).

    Args:
        data: An Arrow table, record batch or reader, a pandas or polars frame, a mapping of columns, a list of row
            mappings, any object with the Arrow C stream interface, or the bytes of a CSV, Parquet or Arrow file.
            A pandas index counts as data only where its levels have names.
        format: ``csv``, ``parquet`` or ``arrow`` for bytes; None: told by the first bytes.

    Raises:
        InvalidData: ``unreadable-data`` (with the reader's reason), ``empty-table`` (no bytes),
            ``duplicate-columns``, ``unequal-columns``, ``unsupported-data`` (an object of another kind).
    """
    if isinstance(data, (bytes, bytearray, memoryview, pa.Buffer)):
        table = _from_bytes(pa.py_buffer(data), format)
    else:
        table = _from_object(data)
    table = _without_nameless_index(table)
    _refuse_duplicates(table.column_names)
    return table


def _without_nameless_index(table: pa.Table) -> pa.Table:
    """Leave out what pandas kept of an index without a name when it wrote a Parquet or Arrow table."""
    if b"pandas" not in (table.schema.metadata or {}):
        return table
    return table.select([name for name in table.column_names if not _NAMELESS.fullmatch(name)])


def _from_object(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, Mapping):
        return _from_columns(data)
    if isinstance(data, list) and all(isinstance(row, Mapping) for row in data):
        names = dict.fromkeys(name for row in data for name in row)
        return _from_columns({name: [row.get(name) for row in data] for name in names})
    # Frames of libraries that nobody has imported cannot be here, so nothing needs to be imported to look.
    pandas, polars = sys.modules.get("pandas"), sys.modules.get("polars")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _from_pandas(data)
    if polars is not None and isinstance(data, polars.LazyFrame):
        data = data.collect()
    if polars is not None and isinstance(data, polars.DataFrame):
        return data.to_arrow()
    kind = f"{type(data).__module__}.{type(data).__qualname__}"
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return pa.table(data)
        except (pa.ArrowException, TypeError, ValueError):
            kind = f"{kind} (a single column?)"
    raise InvalidData(
        f"Data of type {kind} is not a table.",
        code="unsupported-data",
        hint="Pass a pandas, polars or Arrow table, columns, rows, or a CSV, Parquet or Arrow file.",
    )


def _from_columns(columns: Mapping[Any, Any]) -> pa.Table:
    names = [str(name) for name in columns]
    _refuse_duplicates(names)
    arrays: list[Any] = []
    errors: list[FieldError] = []
    for name, values in zip(names, columns.values(), strict=True):
        try:
            arrays.append(values if isinstance(values, pa.ChunkedArray) else pa.array(values, from_pandas=True))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            errors.append({"pointer": f"/data/{name}", "message": _reason(error)})
    if errors:
        raise InvalidData(
            f"Column {errors[0]['pointer'][6:]!r} cannot be read: {errors[0]['message']}",
            code="unreadable-data",
            hint="The values of a column must be of one type; write missing values as null.",
            errors=errors,
        )
    lengths = {name: len(array) for name, array in zip(names, arrays, strict=True)}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r}: {length}" for name, length in list(lengths.items())[:10])
        raise InvalidData(
            f"The columns have different lengths ({listed}).",
            code="unequal-columns",
            hint="Give every column one value per row; write missing values as null.",
        )
    return pa.Table.from_arrays(arrays, names=names)


def _from_pandas(frame: Any) -> pa.Table:
    if frame.columns.nlevels > 1:
        raise InvalidData(
            "The frame has column names of several levels.",
            code="unsupported-data",
            hint="Join the levels into one name each.",
        )
    levels = [name for name in frame.index.names if name is not None]
    names = [str(name) for name in [*levels, *frame.columns]]
    _refuse_duplicates(names)
    if levels:
        unnamed = [place for place, name in enumerate(frame.index.names) if name is None]
        frame = (frame.droplevel(unnamed) if unnamed else frame).reset_index()
    frame = frame.set_axis(names, axis=1)
    frame = _with_columns(frame, _plain_columns(frame, names))
    try:
        return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        strange = [name for name in names if not _converts(frame[name])]
        texts = {name: text for name in strange if (text := _mixed_as_text(frame[name])) is not None}
        if texts and len(texts) == len(strange):
            return pa.Table.from_pandas(_with_columns(frame, texts), preserve_index=False)
        found = ", ".join(f"{name!r} ({_kinds(frame[name])})" for name in strange)
        raise InvalidData(
            f"These columns cannot be read: {found}." if found else f"The frame cannot be read: {_reason(error)}",
            code="unreadable-data",
            hint="Give every column one type (numbers, text, dates, true/false values), for example with astype.",
        ) from error


def _with_columns(frame: Any, columns: Mapping[str, Any]) -> Any:
    """Return the frame with other columns in place of some."""
    if not columns:
        return frame
    pandas = sys.modules["pandas"]
    return pandas.DataFrame({name: columns.get(name, frame[name]) for name in frame.columns}, index=frame.index)


def _plain_columns(frame: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return the columns of periods and sparse values that Arrow has no form for, in one that it has.

    Raises:
        InvalidData: ``too-large-dense``: sparse columns that would take too much memory.
    """
    pandas = sys.modules["pandas"]
    dtypes = dict(zip(names, frame.dtypes, strict=True))
    sparse = [name for name, dtype in dtypes.items() if isinstance(dtype, pandas.SparseDtype)]
    size = len(frame) * sum(dtypes[name].subtype.itemsize for name in sparse)
    if size > _MOST_DENSE_BYTES:
        raise InvalidData(
            f"{len(sparse)} sparse columns of the frame would take {size / 2**20:,.0f} MiB with all their values; "
            f"at most {_MOST_DENSE_BYTES / 2**20:,.0f} MiB are allowed.",
            code="too-large-dense",
            hint="Leave the rarest columns out, or turn them into fewer (for example by TruncatedSVD of scikit-learn).",
        )
    plain = {name: frame[name].sparse.to_dense() for name in sparse}
    periods = [name for name, dtype in dtypes.items() if isinstance(dtype, pandas.PeriodDtype)]
    return plain | {name: frame[name].dt.to_timestamp() for name in periods}


def _mixed_as_text(column: Any) -> Any:
    """Return texts beside numbers or true/false values as text, like a CSV file has them; None for other columns."""
    if column.dtype != object:
        return None
    present = column.notna()
    kinds = {type(value) for value in column[present]}
    scalars = (str, int, float, np.bool_, np.integer, np.floating)
    if str not in kinds or not all(issubclass(kind, scalars) for kind in kinds):
        return None
    texts = [str(value) if there else None for value, there in zip(column, present, strict=True)]
    return sys.modules["pandas"].Series(texts, index=column.index, dtype=object)


def _converts(column: Any) -> bool:
    try:
        pa.Array.from_pandas(column)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False
    return True


def _kinds(column: Any) -> str:
    """Say what a column holds that Arrow has no type for."""
    kinds = sorted({type(value).__name__ for value in column.dropna()}) if column.dtype == object else []
    if kinds == ["int"]:
        return "whole numbers of more than 64 bits"
    return f"values of types {', '.join(kinds)}" if kinds else f"type {column.dtype}"


def _from_bytes(data: pa.Buffer, format: str | None) -> pa.Table:
    if data.size == 0:
        raise InvalidData(
            "The data is empty: it has no bytes.",
            code="empty-table",
            hint="Was the file written to its end, and is it the right one?",
        )
    kind = format or _sniff(data.slice(0, min(data.size, 65536)).to_pybytes())
    readers = {"csv": _read_csv, "parquet": _read_parquet, "arrow": _read_arrow}
    if kind not in readers:
        raise InvalidData(
            f"There is no data format {kind!r}; known are csv, parquet and arrow.",
            code="unknown-format",
            hint="Choose one of these, or leave the format out: the first bytes tell it.",
        )
    try:
        return readers[kind](data)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        name, hint = _READER_HINTS[kind]
        raise InvalidData(
            f"The data cannot be read as {name}: {_reason(error)}", code="unreadable-data", hint=hint
        ) from error


def _sniff(head: bytes) -> str:
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith((b"ARROW1", b"\xff\xff\xff\xff")):
        return "arrow"
    return "csv"


def _read_parquet(data: pa.Buffer) -> pa.Table:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(pa.BufferReader(data)).read()


def _read_arrow(data: pa.Buffer) -> pa.Table:
    if data.slice(0, min(data.size, 6)).to_pybytes() == b"ARROW1":
        return pa.ipc.open_file(pa.BufferReader(data)).read_all()
    return pa.ipc.open_stream(pa.BufferReader(data)).read_all()


def _read_csv(data: pa.Buffer) -> pa.Table:
    from pyarrow import csv

    head = data.slice(0, min(data.size, 65536)).to_pybytes()
    _refuse_other_text(head)
    parse = csv.ParseOptions(delimiter=_delimiter(head), newlines_in_values=True)
    convert = csv.ConvertOptions(null_values=_MISSING, strings_can_be_null=True, quoted_strings_can_be_null=False)
    read = csv.ReadOptions()
    try:
        table = csv.read_csv(pa.BufferReader(data), read, parse, convert)
    except pa.ArrowInvalid as error:
        if "straddling" not in str(error):
            raise
        read.block_size = min(data.size + 1, _LONGEST_BLOCK)  # rows are longer than a block
        table = csv.read_csv(pa.BufferReader(data), read, parse, convert)
    _refuse_duplicates(table.column_names)
    # The reader turns 12:30 into a time of day; frames have such values as text, and so shall files.
    texts = {field.name: pa.string() for field in table.schema if pa.types.is_time(field.type)}
    if texts:
        convert.column_types = texts
        table = csv.read_csv(pa.BufferReader(data), read, parse, convert)
    zoned = [field.name for field in table.schema if pa.types.is_timestamp(field.type) and field.type.tz is not None]
    if zoned:
        as_text = csv.ConvertOptions(
            null_values=_MISSING,
            strings_can_be_null=True,
            include_columns=zoned,
            column_types=dict.fromkeys(zoned, pa.string()),
        )
        written = csv.read_csv(pa.BufferReader(data), read, parse, as_text)
        table = _in_their_zone(table, written)
    undecodable = [field.name for field in table.schema if pa.types.is_binary(field.type)]
    if undecodable:
        raise InvalidData(
            f"The data cannot be read as CSV: the text in column {undecodable[0]!r} is not UTF-8.",
            code="unreadable-data",
            hint="Save the file with the encoding UTF-8.",
        )
    if len(table.column_names) > 1 and not table.column_names[0] and _numbers_rows(table.column(0)):
        table = table.remove_column(0)  # what pandas and R write for an index without a name
    return table


def _delimiter(head: bytes) -> str:
    """Return the sign that stands most often in the header outside of quotes; a comma where there is none."""
    plain = re.sub(rb'"[^"]*"', b"", head.removeprefix(b"\xef\xbb\xbf"))
    header = next((line for line in plain.splitlines() if line.strip()), b"")
    return max(_DELIMITERS, key=lambda mark: header.count(mark.encode()))  # the first of equal ones


def _numbers_rows(column: pa.ChunkedArray) -> bool:
    """Whether a column has a whole number of its own in every row."""
    whole = pa.types.is_integer(column.type) and not column.null_count
    return bool(whole and pc.count_distinct(column).as_py() == len(column))


def _in_their_zone(table: pa.Table, written: pa.Table) -> pa.Table:
    """Return the table with times in the zone of their offsets, which the reader takes off. ``written``: as texts."""
    for name in written.column_names:
        texts, times = written.column(name), table.column(name)
        found = pc.struct_field(pc.extract_regex(texts, _OFFSET), "offset")
        offsets = {text: _offset_s(text) for text in found.unique().to_pylist() if text is not None}
        last = found[pc.index(times, pc.max(times)).as_py()].as_py() if offsets else None
        zone = zone_of_offsets(set(offsets.values()), offsets.get(last, 0))
        kind = pa.timestamp(times.type.unit, zone)
        table = table.set_column(table.column_names.index(name), name, times.cast(pa.int64()).cast(kind))
    return table


def _offset_s(text: str) -> int:
    """Return the seconds of Z, +02, +0200 or +02:00."""
    if text in ("Z", "z"):
        return 0
    minutes = int(text[1:3]) * 60 + int(text[3:].lstrip(":") or 0)
    return minutes * (-60 if text[0] == "-" else 60)


def _refuse_other_text(head: bytes) -> None:
    what = next((text for magic, text in _NOT_TEXT.items() if head.startswith(magic)), None)
    start = head.lstrip()
    if what is None and _HTML.match(start):
        what = "a web page or XML"
    if what is None and re.match(rb'[{\[]\s*["{\[\]}]', start):
        what = "JSON"
    if what is None and b"\0" in head:
        what = "binary data of an unknown kind"
    if what is not None:
        raise InvalidData(
            f"The data is not a CSV, Parquet or Arrow file: it looks like {what}.",
            code="unreadable-data",
            hint="Save it as UTF-8 CSV or as Parquet.",
        )


def _refuse_duplicates(names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InvalidData(
            f"These columns occur more than once: {', '.join(map(repr, repeated))}.",
            code="duplicate-columns",
            hint="Rename them.",
            errors=[{"pointer": f"/data/{name}", "message": "the name occurs more than once"} for name in repeated],
        )


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"


def normalize(table: pa.Table, zoned: Container[str] = (), *, keep_others: bool = False) -> pa.Table:
    """Return the table with one of five types per column: int64, float64, bool, string, timestamp[us].

    Numbers of any type become int64 if all are whole and none is missing, else float64 (NaN and null are the same:
    null). Categories become text; dates and times become timestamps in UTC; durations and times of day become seconds;
    columns without any value float64. Metadata is dropped.

    Args:
        table: As `to_table` returns it.
        zoned: Columns whose times keep their zone.
        keep_others: Leave columns of types that have no normal form (lists, structs, binary, …) as they are: what is
            to be predicted may have some that the model does not look at.

    Raises:
        InvalidData: ``unsupported-type`` (unless they are kept), ``out-of-range`` (a date beyond the range of
            microseconds), naming column and type.
    """
    columns, errors = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        try:
            normal = _normal(column, field.name in zoned)
        except pa.ArrowNotImplementedError:  # categories of intervals, lists, …
            normal = None
        except pa.ArrowInvalid as error:
            raise InvalidData(
                f"Column {field.name!r} has values that are out of range: {_reason(error)}",
                code="out-of-range",
                hint="Correct these values, or replace them by missing ones.",
            ) from error
        if normal is None and keep_others:
            columns.append(column)
        elif normal is None:
            errors.append(FieldError(pointer=f"/data/{field.name}", message=f"type {field.type} is not supported"))
        else:
            columns.append(normal)
    if errors:
        listed = ", ".join(f"{error['pointer'][6:]!r} ({error['message']})" for error in errors)
        raise InvalidData(
            f"These columns cannot be used: {listed}.",
            code="unsupported-type",
            hint="Leave them out, or turn them into numbers, text, dates or true/false values.",
            errors=errors,
        )
    return pa.Table.from_arrays(columns, names=table.column_names)


_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def _normal(column: pa.ChunkedArray, zoned: bool = False) -> pa.ChunkedArray | None:
    dtype, types = column.type, pa.types
    if isinstance(dtype, pa.BaseExtensionType):
        return _normal(column.cast(dtype.storage_type), zoned)
    if types.is_dictionary(dtype):
        return _normal(column.cast(dtype.value_type), zoned)
    if types.is_boolean(dtype):
        return column
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        if 0 < column.null_count == len(column):  # without a value, not every source knows that it was text
            return pa.chunked_array([pa.nulls(len(column), pa.float64())])
        return column.cast(pa.string())
    if types.is_integer(dtype) and column.null_count == 0:
        fits = dtype != pa.uint64() or (pc.max(column).as_py() or 0) < 2**63
        return column.cast(pa.int64() if fits else pa.float64(), safe=False)
    if types.is_integer(dtype) or types.is_floating(dtype) or types.is_decimal(dtype) or types.is_null(dtype):
        return _whole(column.cast(pa.float64(), safe=False))
    if types.is_duration(dtype) or types.is_time(dtype):
        counts = column.cast(pa.int32() if types.is_time32(dtype) else pa.int64())
        return _whole(pc.divide(counts.cast(pa.float64(), safe=False), _PER_SECOND[dtype.unit]))
    if types.is_date(dtype):
        return column.cast(pa.timestamp("us"))
    if types.is_timestamp(dtype):
        # Times with a zone are stored as UTC already; only the zone's name goes.
        zone = pa.timestamp("us", tz=dtype.tz)
        micros = column.cast(zone, safe=dtype.unit != "ns")
        return micros if zoned else micros.cast(pa.int64()).cast(pa.timestamp("us"))
    return None


def _whole(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return float64 with null for NaN, or int64 if every value is a whole number."""
    if len(column) == 0 or column.null_count == len(column):
        return column
    if pc.any(pc.is_nan(column)).as_py():
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    if column.null_count:
        return column
    whole = pc.and_(pc.equal(pc.trunc(column), column), pc.less_equal(pc.abs(column), float(_EXACT)))
    return column.cast(pa.int64()) if pc.all(whole).as_py() else column


def fingerprint(table: pa.Table) -> str:
    """Return the sha256 (hex) of names, types and values of a normalised table.

    Chunks, slices and buffer offsets make no difference. A table that is not normalised is hashed as it is.
    """
    digest = sha256(f"rayctl/table/1/{table.num_rows}/{table.num_columns}".encode())
    for field, column in zip(table.schema, table.columns, strict=True):
        name = field.name.encode("utf-8", "surrogatepass")
        digest.update(f"\0{len(name)}\0".encode() + name + f"\0{field.type}\0".encode())
        for part in _hash_column(column):
            digest.update(part)
    return digest.hexdigest()


def _hash_column(column: pa.ChunkedArray) -> list[bytes]:
    # Three streams, so that the borders between chunks leave no trace.
    validity, values, data = sha256(), sha256(), sha256()
    for chunk in column.chunks:
        if column.null_count:
            validity.update(np.asarray(chunk.is_valid()).astype(np.uint8).data)
        if pa.types.is_string(column.type):
            filled = chunk.fill_null("")
            offsets = np.frombuffer(filled.buffers()[1] or b"\0" * 4, np.int32)
            offsets = offsets[filled.offset : filled.offset + len(filled) + 1]
            values.update(np.ascontiguousarray(np.diff(offsets)).data)
            if len(offsets) and filled.buffers()[2] is not None:
                data.update(memoryview(filled.buffers()[2])[int(offsets[0]) : int(offsets[-1])])
        elif column.type in _NORMAL_TYPES or pa.types.is_timestamp(column.type):
            plain = chunk.cast(pa.int64()) if pa.types.is_timestamp(column.type) else chunk
            numbers = plain.fill_null(False if pa.types.is_boolean(column.type) else 0).to_numpy(zero_copy_only=False)
            if numbers.dtype == np.float64:
                numbers = numbers + 0.0  # makes -0.0 and 0.0 the same
            values.update(np.ascontiguousarray(numbers).data)
        else:
            for value in chunk.to_pylist():
                data.update(repr(value).encode("utf-8", "surrogatepass") + b"\0")
    return [validity.digest(), values.digest(), data.digest()]


def to_ipc(table: pa.Table) -> bytes:
    """Return the table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    """Return the table of an Arrow IPC stream; its columns point into ``data``.

    Raises:
        InvalidData: ``unreadable-data``.
    """
    try:
        return pa.ipc.open_stream(pa.py_buffer(data)).read_all()
    except (pa.ArrowException, OSError) as error:
        raise InvalidData(
            f"The data is not an Arrow stream: {_reason(error)}",
            code="unreadable-data",
            hint="Write it with Arrow's IPC stream format, or send CSV or Parquet.",
        ) from error
