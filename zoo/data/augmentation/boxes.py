"""Random boxes in images: random-resized crops, and random erasing.

A box is drawn in up to ten attempts, of which the first that fits into the image counts. In an image of H x W pixels it
has the share a of the area and the ratio r of width to height:

    a ~ uniform(area)     log r ~ uniform(log ratio)     width = sqrt(a H W r)     height = sqrt(a H W / r)

Each of its possible places is as likely as the others.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from ..rows import Rows
from ..streaming.photos import Photos
from . import Augmentation

Range = tuple[float, ...]
# Top, left, height and width.
Box = tuple[int, int, int, int]

_ATTEMPTS = 10


def draw_boxes(rng: np.random.Generator, count: int, indices: np.ndarray) -> np.ndarray:
    """Draws a row of numbers from 0 to 1 for each image; it becomes a box once the size of the image is known."""
    return rng.random((count, 2 * _ATTEMPTS + 2))[indices]


def fit_box(draws: np.ndarray, height: int, width: int, area: Range, ratio: Range) -> Box | None:
    """Makes the box of a row of `draw_boxes`; None if no attempt fits."""
    *attempts, row, column = draws.tolist()
    least, most = math.log(ratio[0]), math.log(ratio[1])
    for share, shape in zip(attempts[:_ATTEMPTS], attempts[_ATTEMPTS:], strict=True):
        pixels = height * width * (area[0] + (area[1] - area[0]) * share)
        stretch = math.exp(least + (most - least) * shape)
        tall, wide = round(math.sqrt(pixels / stretch)), round(math.sqrt(pixels * stretch))
        if 0 < tall <= height and 0 < wide <= width:
            return int(row * (height - tall + 1)), int(column * (width - wide + 1)), tall, wide
    return None


def crop_box(draws: np.ndarray, height: int, width: int, area: Range, ratio: Range) -> Box:
    """Makes the box of a row of `draw_boxes`; if none fits, the largest one in the centre whose ratio is allowed."""
    if box := fit_box(draws, height, width, area, ratio):
        return box
    tall, wide = min(height, max(1, round(width / ratio[0]))), min(width, max(1, round(height * ratio[1])))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def crop_and_resize(
    images: "np.ndarray | Rows | Photos",
    which: np.ndarray,
    box: Callable[[int, int, int], Box],
    size: tuple[int, int],
    interpolation: str,
) -> np.ndarray:
    """Crops a box from each of some uint8 images, grey or RGB, and resizes it.

    Args:
        images: Pixels, (examples, height, width, channels), or photos, which are decoded only as far as needed.
        which: The indices of the images.
        box: Takes a place in `which`, and the height and width of the image there.
        size: Height and width of the results.
        interpolation: One of Pillow's filters, by name.
    """
    if isinstance(images, Rows):
        return crop_and_resize(images.whole, images.indices[which], box, size, interpolation)
    if isinstance(images, Photos):
        return images.cropped(which, box, size, interpolation)
    out = np.empty((len(which), *size, images.shape[-1]), images.dtype)
    resample = Image.Resampling[interpolation.upper()]
    for place, image in enumerate(images[which]):
        top, left, tall, wide = box(place, *image.shape[:2])
        whole = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        resized = whole.resize(size[::-1], resample, box=(left, top, left + wide, top + tall))
        out[place] = np.asarray(resized).reshape(out.shape[1:])
    return out


def erase(
    images: np.ndarray,
    options: Augmentation,
    rng: np.random.Generator,
    count: int,
    indices: np.ndarray,
    channels: int | None = None,
) -> np.ndarray:
    """Replaces a random box in some of the standardised images, in place: by 0, the mean, or by normal noise.

    Channels after the first `channels`, such as that of a mask, become 0.
    """
    chosen = (rng.random(count) < options.erasing)[indices]
    draws, seeds = draw_boxes(rng, count, indices), rng.integers(2**63, size=count)[indices]
    height, width = images.shape[1:3]
    for place in np.flatnonzero(chosen):
        if box := fit_box(draws[place], height, width, options.erasing_area, options.erasing_ratio):
            top, left, tall, wide = box
            inside = images[place, top : top + tall, left : left + wide]
            inside[...] = 0
            if options.erasing_fill == "noise":
                # From a seed of its own: noise for the whole batch would be as large as the batch.
                noise = inside[..., :channels]
                noise[...] = np.random.default_rng(seeds[place]).normal(size=noise.shape)
    return images
