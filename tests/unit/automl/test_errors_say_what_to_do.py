"""Every error of AutoML that a user may see says what to do about it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.exceptions import OutOfMemoryError

from rayctl import automl, errors
from rayctl.automl.failures import failure_of, failure_of_task
from rayctl.automl.tasks import Caps, _within
from rayctl.errors import TrialError

ROOT = Path(automl.__file__).parent
CLASSES = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
FILES = [*sorted(ROOT.rglob("*.py")), *(ROOT.parent / name for name in ("api/tables.py", "client/model.py"))]


def _without_hint(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that make an error without a hint, or whose own parameter for it may be None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
            hints = [word.value for word in node.keywords if word.arg == "hint"]
            if not hints or (isinstance(hints[0], ast.Constant) and not hints[0].value):
                yield node.lineno
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for argument in (*node.args.args, *node.args.kwonlyargs):
                if (
                    argument.arg == "hint"
                    and argument.annotation is not None
                    and "None" in ast.unparse(argument.annotation)
                ):
                    yield node.lineno


@pytest.mark.parametrize(
    "path",
    FILES,
    ids=lambda path: str(path.relative_to(ROOT.parent)),
)
def test_errors_have_hints(path: Path) -> None:
    assert list(_without_hint(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_check_finds_what_it_looks_for() -> None:
    code = "raise InvalidData('x')\nTrialError('x', hint=None)\ndef f(hint: str | None): ...\nTrialError('x', hint='y')"
    assert sorted(_without_hint(ast.parse(code))) == [1, 2, 3]
    assert len(FILES) > 100


def test_the_hint_of_a_trial_goes_to_the_leaderboard() -> None:
    def work() -> None:
        raise TrialError("No.", code="invalid-parameter", hint="Say yes.")

    told = {"code": "invalid-parameter", "message": "No.", "hint": "Say yes."}
    assert _within(Caps(), work).as_error == told
    assert failure_of(TrialError("No.", code="invalid-parameter", hint="Say yes.")).as_error == told
    assert failure_of(ValueError("No.")).as_error == {"code": "model-error", "message": "ValueError: No."}
    assert "hint" in failure_of_task(OutOfMemoryError("no memory")).as_error
