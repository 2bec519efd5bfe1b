"""The image reader that the record of a run or of weights stands for."""

from collections.abc import Mapping, Sequence
from typing import Any

from export.images import ImageReader


def recorded_reader(record: Mapping[str, Any], input_shape: Sequence[int | None]) -> ImageReader | None:
    """Returns the reader of image files; None if the network's inputs are not pixels from 0 to 255.

    Args:
        record: Plain data with "preprocessing", and with "image" unless it is from before there was a choice, when
            images were stretched to the size of the input.
        input_shape: Of one input, with its channels last.
    """
    if record.get("image") is not None:
        return ImageReader.from_dict(record["image"])
    if len(input_shape) != 3 or None in input_shape or record["preprocessing"]["scale"] != 1 / 255:
        return None
    if record.get("dtype", "uint8") != "uint8":
        return None
    height, width, channels = input_shape
    return ImageReader((height, width), channels, "stretch") if channels in (1, 3) else None  # type: ignore[arg-type]
