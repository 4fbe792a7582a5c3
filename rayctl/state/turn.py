"""Whose turn it is to work with a state folder, when two control planes share one while one is replaced by the other.

A small file names the side that holds the state, and the one that is to have it. Only a side that is both works with
it; the holder hands it over by naming its successor, after it has stopped. No file: there is only one side.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

from rayctl.errors import Unavailable

__all__ = ["Turn", "read_turn", "turn_file", "wait_for_turn", "write_turn"]

POLL_S = 0.1
WAIT_S = 30.0
"""For so long a request waits while the state changes hands."""


@dataclass(frozen=True)
class Turn:
    """``holder``: the side that may have it open; ``wanted``: the side that is to have it. Empty: any."""

    holder: str = ""
    wanted: str = ""

    def is_of(self, side: str) -> bool:
        """Whether a side may work with the state."""
        return not side or (self.holder in ("", side) and self.wanted in ("", side))

    def must_release(self, side: str) -> bool:
        """Whether a side has it and somebody else is to have it."""
        return bool(side) and self.holder == side and self.wanted not in ("", side)


def turn_file(home: Path) -> Path:
    """Return where it is written, beside the database."""
    return home / "state" / "turn.json"


def read_turn(path: Path) -> Turn:
    """Return what the file says. Raises OSError, ValueError."""
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return Turn()
    return Turn(str(found.get("holder", "")), str(found.get("wanted", "")))


def write_turn(path: Path, turn: Turn) -> None:
    """Replace the file as a whole. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"holder": turn.holder, "wanted": turn.wanted}))
    temporary.replace(path)


def wait_for_turn(path: Path, side: str, timeout_s: float = WAIT_S) -> None:
    """Return when a side may work with the state.

    Raises:
        Unavailable: It may not, for that long.
    """
    deadline = time.monotonic() + timeout_s
    while not read_turn(path).is_of(side):
        if time.monotonic() >= deadline:
            raise Unavailable(
                "The AutoML service is moving to another cluster.",
                code="moving",
                hint="Try again shortly; `rayctl status` tells where it is.",
                retry_after_s=5,
            )
        time.sleep(POLL_S)
