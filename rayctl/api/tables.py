"""Tables in HTTP bodies: which format a body has, JSON rows to Arrow, Arrow to the format the caller accepts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from rayctl.api.documents import dump
from rayctl.api.problems import HttpRefusal, pointer
from rayctl.automl.csv_times import with_short_times
from rayctl.errors import FieldError, InvalidData, InvalidRequest

__all__ = ["ANSWER_TYPES", "check_format", "choose_answer", "format_of", "render", "table_from_json"]

_FORMATS = {
    "text/csv": "csv",
    "application/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow",
    "application/vnd.apache.arrow.stream": "arrow",
}
_SUFFIXES = {"csv": "csv", "parquet": "parquet", "pq": "parquet", "arrow": "arrow", "feather": "arrow", "ipc": "arrow"}
# Types that say nothing; then the file name, or the service's own look at the bytes, decides.
_SILENT = frozenset({"", "application/octet-stream", "binary/octet-stream", "text/plain"})
_MAX_FIELD_ERRORS = 50

#: What predictions can be answered in, the first being the default.
ANSWER_TYPES = (
    "application/json",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
)


def format_of(content_type: str | None, filename: str | None = None, *, strict: bool = True) -> str | None:
    """Return ``csv``, ``parquet`` or ``arrow``, or None when neither type nor name tells.

    Raises:
        HttpRefusal: 415, a content type that is no table (only if ``strict``).
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in _FORMATS:
        return _FORMATS[kind]
    by_name = _SUFFIXES.get((filename or "").rpartition(".")[2].lower())
    if by_name or kind in _SILENT or not strict:
        return by_name
    raise HttpRefusal(
        415,
        "Data can be sent as CSV, Parquet or Arrow.",
        code="unsupported-media-type",
        title="Unsupported media type",
        kind="MalformedRequest",
        hint="Send text/csv, application/vnd.apache.parquet or application/vnd.apache.arrow.stream.",
    )


def check_format(data: bytes, declared: str | None) -> None:
    """Refuse data that plainly is not what it is declared to be. Raises InvalidData."""
    if not data:
        raise InvalidData(
            "The data is empty.", code="empty-data", hint="Was the file written to its end, and is it the right one?"
        )
    parquet = data.startswith(b"PAR1")
    arrow = data.startswith((b"ARROW1", b"\xff\xff\xff\xff"))
    seen = "parquet" if parquet else "arrow" if arrow else "csv"
    if declared is not None and declared != seen:
        raise InvalidData(
            f"The data is declared as {declared}, but it does not begin like {declared}.",
            code="format-mismatch",
            hint=f"It begins like {seen}: declare that, or leave the type out.",
        )


def _columns_of(rows: Sequence[Any]) -> dict[str, list[Any]]:
    bad: list[FieldError] = [
        {"pointer": f"/rows/{index}", "message": "a row must be an object of column names and values"}
        for index, row in enumerate(rows)
        if not isinstance(row, dict)
    ]
    if bad:
        raise InvalidRequest(
            "Some rows are not objects.",
            hint="Write every row as an object of column names and values.",
            errors=bad[:_MAX_FIELD_ERRORS],
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _to_arrow(columns: Mapping[str, Any]) -> pa.Table:
    arrays: dict[str, Any] = {}
    bad: list[FieldError] = []
    for name, values in columns.items():
        place = pointer(["columns", name])
        if not isinstance(values, list):
            bad.append({"pointer": place, "message": "a column must be a list of values"})
            continue
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            bad.append({"pointer": place, "message": "the values of a column must be of one type"})
    if bad:
        raise InvalidData(
            "Some columns cannot be made into a table.",
            code="mixed-types",
            hint="Give every column a list of values of one type; write missing values as null.",
            errors=bad[:_MAX_FIELD_ERRORS],
        )
    if len({len(array) for array in arrays.values()}) > 1:
        raise InvalidData(
            "The columns have different lengths.",
            code="unequal-columns",
            hint="Give every column one value per row; write missing values as null.",
        )
    return pa.table(arrays)


def table_from_json(document: Any, *, bare: bool = False) -> pa.Table:
    """Make a table of ``{"rows": [{…}]}``, ``{"row": {…}}`` or ``{"columns": {name: […]}}``.

    ``bare``: also take a row or a list of rows as they are.

    Raises:
        InvalidRequest: the document is none of these.
        InvalidData: values that fit in no column.
    """
    kind, value = _shape(document, bare)
    expected: Any = list if kind == "rows" else dict
    if not isinstance(value, expected):
        wanted = "a list of objects" if kind == "rows" else "an object"
        raise InvalidRequest(
            f"{kind} must be {wanted}.",
            hint='For example {"rows": [{"a": 1}]} or {"columns": {"a": [1, 2]}}.',
            errors=[{"pointer": f"/{kind}", "message": f"must be {wanted}"}],
        )
    if not value:
        raise InvalidData(f"{kind} is empty.", code="empty-data", hint="Send at least one row.")
    if kind == "columns":
        return _to_arrow(value)
    return _to_arrow(_columns_of(value if kind == "rows" else [value]))


def _shape(document: Any, bare: bool) -> tuple[str, Any]:
    if isinstance(document, dict) and len(document) == 1:
        kind, value = next(iter(document.items()))
        if kind in ("rows", "row", "columns") and (isinstance(value, (dict, list)) or not bare):
            return kind, value
    if bare and isinstance(document, (dict, list)):
        return "row" if isinstance(document, dict) else "rows", document
    raise InvalidRequest(
        "The body must be an object with exactly one of rows, row and columns.",
        hint='For example {"rows": [{"a": 1}]} or {"columns": {"a": [1, 2]}}.',
    )


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def choose_answer(accept: str | None) -> str:
    """Return the media type to answer in. Raises the 406 refusal if the caller accepts none of ours."""
    if not accept or not accept.strip():
        return ANSWER_TYPES[0]
    best, best_quality = None, 0.0
    for entry in accept.split(","):
        kind, *parameters = entry.strip().lower().split(";")
        kind, quality = kind.strip(), _quality(parameters)
        for offer in ANSWER_TYPES:
            fits = kind in (offer, "*/*") or (kind.endswith("/*") and offer.startswith(kind[:-1]))
            if fits and quality > best_quality:
                best, best_quality = offer, quality
    if best is None:
        raise HttpRefusal(
            406,
            "Predictions cannot be answered in any of the accepted types.",
            code="not-acceptable",
            title="Not acceptable",
            hint="Accept one of " + ", ".join(ANSWER_TYPES) + ".",
        )
    return best


def render(table: pa.Table, kind: str) -> bytes:
    """Write a table in one of `ANSWER_TYPES`. Blocking; call it in a thread."""
    if kind == "application/json":
        return dump({"predictions": table.to_pylist()})
    sink = io.BytesIO()
    if kind == "text/csv":
        pa.csv.write_csv(with_short_times(table), sink)
    elif kind == "application/vnd.apache.parquet":
        pa.parquet.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()
