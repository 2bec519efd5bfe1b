"""Batches of arrays in one file that a page in a browser reads and writes.

    length of the header, 4 bytes    header, JSON    numbers

The header lists each array: its batch, name, type, shape and first byte after the header. All is little-endian.
"""

import json
import math
import struct
from collections.abc import Mapping

import numpy as np

from ..storage.arrays import Batch


def pack(batches: Mapping[str, Batch]) -> bytes:
    """Returns batches as the contents of a file."""
    header, numbers, start = [], [], 0
    for batch, arrays in batches.items():
        for name, x in arrays.items():
            data = np.ascontiguousarray(x).astype(x.dtype.newbyteorder("<"), copy=False).tobytes()
            header.append({"batch": batch, "name": name, "dtype": x.dtype.name, "shape": x.shape, "start": start})
            numbers.append(data)
            start += len(data)
    text = json.dumps(header).encode()
    return b"".join((struct.pack("<I", len(text)), text, *numbers))


def unpack(content: bytes) -> dict[str, Batch]:
    """Returns the batches in the contents of a file.

    Raises:
        ValueError: If it holds no batches.
    """
    try:
        (length,) = struct.unpack_from("<I", content)
        batches: dict[str, Batch] = {}
        for array in json.loads(content[4 : 4 + length]):
            dtype = np.dtype(array["dtype"]).newbyteorder("<")
            size, start = math.prod(array["shape"]), 4 + length + array["start"]
            values = np.frombuffer(content, dtype, size, start).reshape(array["shape"])
            batches.setdefault(array["batch"], {})[array["name"]] = values.astype(dtype.newbyteorder("="))
        return batches
    except (struct.error, KeyError, TypeError) as error:
        raise ValueError(f"Expected batches of arrays. Received: {error!r}") from error
