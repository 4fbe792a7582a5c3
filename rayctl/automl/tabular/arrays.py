"""Named numpy arrays as one block of bytes with a JSON directory. Reading it runs no code and trusts no size."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from rayctl.automl.bundle import DAMAGED
from rayctl.errors import InvalidRequest

__all__ = ["pack_arrays", "unpack_arrays"]

_TYPES = frozenset(["<f4", "<f8", "<i4", "<i8", "|u1"])


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], bytes]:
    """Return (directory: name → [type, shape], JSON; the arrays' bytes one after another, little-endian)."""
    directory, parts = {}, []
    for name, array in arrays.items():
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        if plain.dtype.str not in _TYPES:
            raise ValueError(f"arrays of type {plain.dtype} are not stored")
        directory[name] = [plain.dtype.str, list(plain.shape)]
        parts.append(plain.tobytes())
    return directory, b"".join(parts)


def unpack_arrays(directory: Mapping[str, Any], data: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of `pack_arrays`; they are read-only views of ``data``.

    Raises:
        InvalidRequest: ``invalid-bundle``: types or sizes do not fit the bytes.
    """
    arrays, start = {}, 0
    try:
        for name, (dtype, shape) in directory.items():
            if dtype not in _TYPES or any(not isinstance(size, int) or size < 0 for size in shape):
                raise ValueError(f"array {name!r} has an unknown type or shape")
            count = prod(shape)
            if start + count * np.dtype(dtype).itemsize > len(data):
                raise ValueError(f"array {name!r} is longer than its data")
            arrays[name] = np.frombuffer(data, dtype=dtype, count=count, offset=start).reshape(shape)
            start += arrays[name].nbytes
        if start != len(data):
            raise ValueError("there is more data than its directory says")
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"This is not a usable model bundle: {error}.", code="invalid-bundle", hint=DAMAGED
        ) from error
    return arrays
