"""What an unscored fold carries to the bundle: its series' forecasts, and what a global model has learned."""

from __future__ import annotations

import json
import struct

import numpy as np

from rayctl.automl.forecast.forecaster import Forecasts

__all__ = ["pack_forecasts", "unpack_forecasts"]


def pack_forecasts(found: Forecasts) -> np.ndarray:
    """Return forecasts as bytes (uint8): the length of a JSON header, the header, the values, the learned model."""
    header = {
        "shape": list(found.values.shape),
        "replaced": found.replaced,
        "reason": found.reason,
        "stopped_at": found.stopped_at,
    }
    text = json.dumps(header).encode()
    data = struct.pack("<I", len(text)) + text + found.values.astype("<f8").tobytes() + found.learned
    return np.frombuffer(data, np.uint8)


def unpack_forecasts(data: np.ndarray) -> Forecasts:
    """Return what `pack_forecasts` packed."""
    raw = data.tobytes()
    size = struct.unpack("<I", raw[:4])[0] + 4
    header = json.loads(raw[4:size])
    series, horizon = header["shape"]
    end = size + 8 * series * horizon
    values = np.frombuffer(raw[size:end], "<f8").reshape(series, horizon)
    return Forecasts(values, header["replaced"], header["reason"], header["stopped_at"], raw[end:])
