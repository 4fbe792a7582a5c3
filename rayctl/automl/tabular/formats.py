"""Numbers and dates that a table holds as text: which way of writing a column uses, and reading it.

A *reading* is the name of one way of writing: ``number:point`` (1,234.5), ``number:comma`` (1.234,5),
``number:clock`` (17:30, in hours), ``date:iso`` or ``date:<strptime format>``. Currency signs and codes, percent signs
(12% is 12), thousands separators and parentheses for negative amounts are understood.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MISSING_MARKS", "find_reading", "is_mark", "is_plain", "parse", "read_amounts"]

MISSING_MARKS = ("", "?", "-", "--", ".", "na", "n/a", "nan", "nat", "none", "null", "missing", "unknown", "<na>")
_SHARE = 0.95
_PROBE = 500

_CURRENCY = r"(?:\p{Sc}|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|Rs\.?)"
_FRAME = (
    rf"^(?P<open>\()?\s*(?P<sign>[-+−])?\s*{_CURRENCY}?\s*(?P<after>[-+−])?"
    rf"(?P<body>%s)\s*(?:%%|{_CURRENCY})?\s*\)?$"
)
_NUMBER = {
    "point": _FRAME % r"(?:\d{1,3}(?:[,'’ \x{a0}\x{202f}]\d{3})+|\d+)(?:\.\d*)?(?:[eE][-+]?\d+)?|\.\d+",
    "comma": _FRAME % r"(?:\d{1,3}(?:[.'’ \x{a0}\x{202f}]\d{3})+|\d+)(?:,\d*)?|,\d+",
}
_CLOCK = r"^(?P<hours>\d{1,2}):(?P<minutes>[0-5]\d)(?::(?P<seconds>[0-5]\d(?:\.\d+)?))?$"
_PLAIN = r"^\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*$"
_CODE = r"^0\d+$"  # a leading zero: a post code or an account number, not an amount
_DATE_LIKE = (
    r"^\s*(?:\d{1,4}[-/.]\d{1,2}(?:[-/.]\d{1,4})?(?:[T ].*)?|\d{1,2}[- ][A-Za-z]{3,9}[- ,]+\d{2,4}.*"
    r"|[A-Za-z]{3,9}\.? \d{1,2},? \d{4}.*|(?:19|20)\d{6}(?:T\d+Z?)?)\s*$"
)
_DATE_FORMATS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y"),
    *("%m-%d-%Y", "%d-%m-%Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")


def find_reading(values: pa.Array) -> str | None:
    """Return the reading of a text column (type string), None if it is text.

    At least 95% of its values must read so, and of its distinct values; marks for missing values do not count.
    """
    values = values.filter(pc.invert(is_mark(values))).drop_null()
    distinct = values.unique()
    if len(distinct) < 2:
        return None
    # Spread over the column, so that an ordered column shows all of its forms.
    step = max(1, len(distinct) // _PROBE)
    probe = distinct.take(pa.array(range(0, len(distinct), step)))
    for reading in _candidates(probe):
        if _share(distinct, reading) >= _SHARE and _share(values, reading) >= _SHARE:
            return reading
    return None


def read_amounts(values: pa.Array) -> tuple[pa.Array, pa.Array] | None:
    """Read a text column (type string) that holds numbers and marks for missing values; None if it is another.

    Returns (float64, null where there is no number; whether a value is neither a number nor a mark: booleans). Stricter
    than for input columns: such values are for the caller to judge, and times of day are no amounts.
    """
    reading = find_reading(values)
    if reading is None or not reading.startswith("number:") or reading == "number:clock":
        return None
    found = parse(values, reading)
    marks = pc.fill_null(is_mark(values), True)
    return found, pc.and_(pc.invert(marks), pc.is_null(found))


def is_mark(values: pa.Array) -> pa.Array:
    """Return which texts mark a missing value (see `MISSING_MARKS`): booleans, null for null."""
    marks = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(values)), value_set=pa.array(MISSING_MARKS))
    return pc.if_else(values.is_valid(), marks, pa.scalar(None, pa.bool_()))


def is_plain(values: pa.Array) -> bool:
    """Whether all values are numbers written as programs write them (12, -3.5, 1e-3)."""
    return bool(pc.all(pc.match_substring_regex(values, _PLAIN)).as_py())


def parse(values: pa.Array, reading: str) -> pa.Array:
    """Read texts: float64 for numbers, timestamp[us] in UTC for dates; null where a text does not read so."""
    kind, form = reading.split(":", 1)
    if kind == "date":
        return _dates(values, form)
    return _clock(values) if form == "clock" else _numbers(values, form)


def _candidates(probe: pa.Array) -> list[str]:
    found: list[tuple[float, str]] = []
    if _matching(probe, _DATE_LIKE) >= _SHARE:
        found = [(_share(probe, f"date:{form}"), f"date:{form}") for form in _date_formats(probe)]
    elif _matching(probe, _CLOCK) >= _SHARE:
        return ["number:clock"]
    if not any(share >= _SHARE for share, _ in found) and _matching(probe, _CODE) == 0.0:
        found += [(_matching(probe, pattern), f"number:{form}") for form, pattern in _NUMBER.items()]
    likely = [(share, name) for share, name in found if share >= _SHARE]
    return [name for _, name in sorted(likely, key=lambda item: -item[0])]  # stable: the first of equal ones


def _date_formats(probe: pa.Array) -> list[str]:
    timed = _matching(probe, r":\d{2}") > 0.5
    return ["iso"] + [form + time for form in _DATE_FORMATS for time in _TIMES if bool(time) == timed]


def _matching(values: pa.Array, pattern: str) -> float:
    return float(pc.mean(pc.match_substring_regex(values, pattern)).as_py() or 0.0)


def _share(values: pa.Array, reading: str) -> float:
    return 1.0 - parse(values, reading).null_count / len(values)


def _dates(values: pa.Array, form: str) -> pa.Array:
    import pandas as pd

    stripped = pc.utf8_trim_whitespace(values).to_pandas()
    read = pd.to_datetime(stripped, format="ISO8601" if form == "iso" else form, errors="coerce", utc=True)
    return pa.array(read.dt.tz_localize(None).to_numpy().astype("datetime64[us]"))


def _clock(values: pa.Array) -> pa.Array:
    found = pc.extract_regex(pc.utf8_trim_whitespace(values), _CLOCK)
    seconds = pc.struct_field(found, "seconds")
    seconds = pc.if_else(pc.equal(seconds, ""), "0", seconds)
    hours, minutes, seconds = (
        part.cast(pa.float64())
        for part in (pc.struct_field(found, "hours"), pc.struct_field(found, "minutes"), seconds)
    )
    return pc.add(hours, pc.divide(pc.add(minutes, pc.divide(seconds, 60.0)), 60.0))


def _numbers(values: pa.Array, form: str) -> pa.Array:
    found = pc.extract_regex(pc.utf8_trim_whitespace(values), _NUMBER[form])
    body = pc.replace_substring_regex(pc.struct_field(found, "body"), r"['’ \x{a0}\x{202f}]", "")
    body = pc.replace_substring(body, "," if form == "point" else ".", "")
    if form == "comma":
        body = pc.replace_substring(body, ",", ".")
    size = body.cast(pa.float64())
    signs = pc.binary_join_element_wise(*(pc.struct_field(found, part) for part in ("open", "sign", "after")), "")
    return pc.if_else(pc.match_substring_regex(signs, r"[(\-−]"), pc.negate(size), size)
