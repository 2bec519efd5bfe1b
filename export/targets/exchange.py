"""The file format in which Python and the page in a browser exchange batches of arrays.

    length of the header, 4 bytes    header, JSON    numbers

For each array the header gives its batch, name, type, shape and offset after the header. Numbers are little-endian.
"""

import json
import math
import struct
from collections.abc import Mapping

import numpy as np

from ..storage.arrays import Batch


def pack(batches: Mapping[str, Batch]) -> bytes:
    """Returns the contents of a file with these batches."""
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
