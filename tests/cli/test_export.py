"""``rayctl automl export``: what cannot be exported is refused, and no half-written file stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_a_file_that_is_no_model_is_refused(
    run: Callable[..., Any], submit: Callable[..., str], tmp_path: Path
) -> None:
    target = tmp_path / "model.onnx"
    done = run("automl", "export", submit(), "-o", str(target))
    assert done.exit_code == 2
    assert "bundle" in done.stderr
    assert list(tmp_path.glob("*onnx*")) == []
