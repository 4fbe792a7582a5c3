"""A downloaded model in a process of one's own: no service, no Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rayctl.errors import InvalidData, InvalidRequest

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["LoadedModel", "as_frame", "load_model"]

_ENGINES = {"tabular": "classification", "forecasting": "forecasting"}


class LoadedModel:
    """What `load_model` returns; predicts as `Run.predict` does.

    Attributes:
        kind: ``tabular`` or ``forecasting``.
        info: What the bundle says of itself: members with parameters and weights, columns.
    """

    def __init__(self, bundle: bytes, trust_code: bool) -> None:
        from rayctl.automl.bundle import read_bundle

        opened = read_bundle(bundle)
        if opened.kind not in _ENGINES:
            raise InvalidRequest(
                f"This is a bundle of kind {opened.kind!r}, not a model.",
                code="bundle-kind",
                hint="Download it: rayctl automl download RUN model.zip.",
            )
        self.kind, self.info = opened.kind, opened.info
        self._bundle, self._trust_code = bundle, trust_code

    def predict(self, data: Any = None, proba: bool = False) -> pd.DataFrame:
        """Return one prediction per row, with the index of a frame; for series, None continues the training data.

        Args:
            data: A frame, an Arrow table, a list of rows, or the path or bytes of a CSV, Parquet or Arrow file.
            proba: Add the probability of each class, ``proba_<class>``.

        Raises:
            InvalidData: The file cannot be read, or columns are missing or of another type than in training.
            InvalidRequest: ``untrusted-model``: it has a class of the caller's own, and its code is not trusted;
                ``missing-extra``: a library is not installed here; ``proba`` for a model without probabilities.
        """
        return as_frame(self.predict_table(data, proba), data)

    def predict_table(self, data: Any = None, proba: bool = False) -> pa.Table:
        """Like `predict`, as an Arrow table."""
        from rayctl.automl.engine import engine_for
        from rayctl.automl.ingest import normalize, to_table
        from rayctl.automl.model import TaskType

        if isinstance(data, (str, Path)):
            data = _content(Path(data))
        task = TaskType(_ENGINES[self.kind])
        table = None if data is None else to_table(data)
        if table is not None:
            zoned = table.column_names if task is TaskType.FORECASTING else ()
            table = normalize(table, zoned, keep_others=True)
        engine = engine_for(task)
        return engine.predict(self._bundle, table, proba=proba, allow_pickle=self._trust_code)


def as_frame(predicted: pa.Table, data: Any) -> pd.DataFrame:
    """Return predictions as a frame; those of the rows of a frame get its index, so that they can be assigned to it."""
    frame = predicted.to_pandas()
    pandas = sys.modules["pandas"]
    if isinstance(data, pandas.DataFrame) and frame.columns[0] == "prediction" and len(frame) == len(data):
        frame.index = data.index
    return frame


def load_model(source: str | Path | bytes, *, trust_code: bool = False) -> LoadedModel:
    """Open the ``model.zip`` of a run (``rayctl automl download RUN model.zip``).

    Runs no code of the file: the default models are kept in their own formats, with a digest each.

    Args:
        source: The file, or its bytes.
        trust_code: Also run what the file has of a caller's own class (a pickle): whoever made the file can then do
            what this process can.

    Raises:
        InvalidData: The file cannot be read.
        InvalidRequest: ``invalid-bundle``, ``bundle-digest``, ``bundle-version``, ``bundle-kind``.
    """
    return LoadedModel(source if isinstance(source, bytes) else _content(Path(source)), trust_code)


def _content(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise InvalidData(
            f"{path} cannot be read: {error.strerror}.",
            code="unreadable-file",
            hint="Give the path of a file that is there and that this process may read.",
        ) from error
