"""Checks that a recipe's changes to images fit the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..streaming.opencv import check_installed
from ..streaming.photos import Photos
from . import COLOURS, OPENCV, Augmentation

if TYPE_CHECKING:
    from ...tasks import Task
    from ..rows import Rows

CHANGES = (
    "crop_area", "pad", "flip", "rand_ops", *COLOURS, "lighting", "cutout", "erasing", "mixup", "cutmix", "sizes"
)  # fmt: skip
# The changes that a mask can follow, or need not.
MOVES = ("crop_area", "pad", "flip", *COLOURS, "lighting", "cutout", "erasing")
# The changes of pixels as Pillow has them, and those of colours.
OF_PIXELS = ("crop_area", "rand_ops", *COLOURS, "lighting")
OF_COLOURS = ("saturation", "hue", "lighting")


def check_augmentation(augmentation: Augmentation, inputs: "np.ndarray | Rows | Photos", task: "Task") -> None:
    """Raises a ValueError for changes that these inputs or their targets do not allow."""
    wanted = [name for name in CHANGES if getattr(augmentation, name)]
    if wanted and inputs.ndim != 4:
        raise _refuse(augmentation, wanted, "inputs that are not images (height, width, channels)", inputs)
    # A random-resized crop cuts masks out too, to any size.
    moves = (*MOVES, "sizes") if augmentation.crop_area else MOVES
    if task.per_pixel and (others := [name for name in wanted if name not in moves]):
        raise _refuse(augmentation, others, f"{task.name}, since a mask cannot follow", inputs)
    if task.per_pixel and augmentation.crop_area and isinstance(inputs, Photos):
        raise _refuse(augmentation, ["crop_area"], "streamed photos, whose masks are not streamed", inputs)
    pixels = inputs.dtype == np.uint8 and inputs.shape[-1] in (1, 3)
    if not pixels and (others := [name for name in OF_PIXELS if name in wanted]):
        raise _refuse(augmentation, others, "images other than uint8, grey or RGB", inputs)
    if inputs.shape[-1] == 1 and (others := [name for name in OF_COLOURS if name in wanted]):
        raise _refuse(augmentation, others, "grey images", inputs)
    if augmentation.crop_area and augmentation.crop_interpolation == OPENCV:
        if not isinstance(inputs, Photos):
            raise _refuse(augmentation, ["crop_interpolation"], "images that are decoded already", inputs)
        check_installed()
    tallest = max((height for _, height in augmentation.sizes), default=0)
    if tallest > inputs.shape[1]:
        raise ValueError(
            f"Expected augment.sizes of at most the height of the images, {inputs.shape[1]}. "
            f"Received: augment.sizes={augmentation.sizes!r}"
        )


def _refuse(
    augmentation: Augmentation, names: Sequence[str], what: str, inputs: "np.ndarray | Rows | Photos"
) -> ValueError:
    """The error for changes of these names."""
    given = ", ".join(f"augment.{name}={getattr(augmentation, name)!r}" for name in names)
    none = ", ".join(f"augment.{name}={getattr(Augmentation(), name)!r}" for name in names)
    return ValueError(
        f"Expected {none} for {what}. Received: {given}, and {inputs.dtype} inputs of shape {inputs.shape[1:]}"
    )
