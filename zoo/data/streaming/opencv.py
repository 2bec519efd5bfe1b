"""Crops photos in half the time: simplejpeg decodes them, and OpenCV resizes them without antialiasing.

The decoded pixels are Pillow's, but the resized ones differ. So it is used only if a recipe asks for it, and installing
the packages changes nothing.
"""

import io
import math
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from ..augmentation import OPENCV as NAME

_PACKAGES = {"cv2": "opencv-python-headless", "simplejpeg": "simplejpeg"}
_ORIENTATION = 0x0112


def check_installed() -> None:
    """Raises a ValueError unless both packages are installed."""
    if missing := [package for module, package in _PACKAGES.items() if find_spec(module) is None]:
        raise ValueError(
            f"Expected {' and '.join(missing)} to be installed for augment.crop_interpolation={NAME!r}. "
            f"Received: no such package; pip install {' '.join(missing)}"
        )


def crop(data: bytes, box: Callable[[int, int], tuple], size: tuple[int, int]) -> np.ndarray | None:
    """Crops a box from a JPEG and resizes it. Returns None if the file is not an upright JPEG in colour.

    The JPEG is decoded at 1/2 of its size or less if the box then still has at least the size of the result.

    Args:
        data: The bytes of the file.
        box: Takes height and width of the image, and returns top, left, height and width of the box.
        size: Height and width of the result.

    Raises:
        ValueError: If the file is damaged.
    """
    import cv2
    import simplejpeg
    from PIL import Image

    if data[:2] != b"\xff\xd8":
        return None
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    with Image.open(io.BytesIO(data)) as opened:
        if colours != "YCbCr" or opened.getexif().get(_ORIENTATION, 1) != 1:
            return None
    top, left, rows, columns = box(height, width)
    least = math.ceil(size[0] * height / rows), math.ceil(size[1] * width / columns)
    pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least[0], min_width=least[1], min_factor=2)
    down, across = pixels.shape[0] / height, pixels.shape[1] / width
    first, last = math.floor(top * down), math.ceil((top + rows) * down)
    window = pixels[first:last, math.floor(left * across) : math.ceil((left + columns) * across)]
    # This interpolation gives the same bits on every processor.
    return cv2.resize(window, size[::-1], interpolation=cv2.INTER_LINEAR_EXACT)
