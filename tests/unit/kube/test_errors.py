"""What an answer means for who asked."""

from __future__ import annotations

import pytest

from rayctl.kube.errors import (
    AlreadyExists,
    Denied,
    Expired,
    ObjectNotFound,
    Overloaded,
    Rejected,
    ServerTrouble,
    from_status,
)
from rayctl.kube.errors import WriteConflict as Conflict

UNTYPED = {"message": "failed to create typed patch object (default/q; v1, Kind=Pod): .spec.x: field not declared"}


@pytest.mark.parametrize(
    ("status", "answer", "kind", "unknown"),
    [
        (400, {}, Rejected, False),
        (401, {}, Denied, False),
        (403, {}, Denied, False),
        (404, "404 page not found\n", ObjectNotFound, False),
        (409, {"reason": "AlreadyExists"}, AlreadyExists, False),
        (409, {"reason": "Conflict"}, Conflict, False),
        (410, {}, Expired, False),
        (422, {}, Rejected, False),
        (429, {}, Overloaded, False),
        (500, {}, ServerTrouble, True),
        (500, UNTYPED, Rejected, False),  # what was sent is wrong, whatever the code says: it is not sent again
        (504, {}, ServerTrouble, True),
    ],
)
def test_an_answer_says_what_can_be_done(status: int, answer: object, kind: type, unknown: bool) -> None:
    error = from_status(status, answer, None, writes=True)
    assert type(error) is kind
    assert error.outcome_unknown is unknown
    assert error.status == status
    assert not from_status(status, answer, None, writes=False).outcome_unknown
