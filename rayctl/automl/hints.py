"""What to do about a field of a request that is not valid. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rayctl.errors import FieldError

__all__ = ["hint_for"]

_HINTS = {
    "horizon": "Give how many steps ahead are to be forecast, a whole number from 1 on: 12 for a year of months.",
    "levels": "Give percentages between 1 and 99, for example [80, 95] (the default); [] for no prediction intervals.",
    "season_length": "Give steps of one season, whole numbers from 1 on: 12 for months, [24, 168] for hours. Leave it "
    "out to have it found.",
    "frequency": "Write for example h, 15min, D, B, W, M, Q, Y, or a whole number for integer times. Leave it out to "
    "have it found.",
    "time_column": "Name the column that has the time of each row.",
    "id_columns": "Name the columns that tell the series apart; none if there is one series.",
    "known_future": "Name the columns whose values over the horizon are known beforehand: prices, holidays, plans.",
}


def hint_for(errors: Sequence[FieldError]) -> str | None:
    """Return the hint for the first of these defects that has one, None if none has.

    A defect of the whole request (pointer ``/`` or empty) is about the first field that its message names.
    """
    for error in errors:
        field = error["pointer"].lstrip("/").partition("/")[0]
        named = [field] if field else re.findall(r"\w+", error["message"])
        found = next((_HINTS[name] for name in named if name in _HINTS), None)
        if found is not None:
            return found
    return None
