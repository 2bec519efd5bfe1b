"""RandAugment: each image gets a few of fourteen operations, chosen at random, all of one strength.

With m for a tenth of the strength, and a random sign where there are two:

    rotate       +- 30 m degrees          colour, contrast,         factor 1 +- 0.9 m
    shear        +- 0.3 m                 brightness, sharpness
    translate    +- 0.3 m of the side     posterize                 8 - 4 m bits
    auto-contrast, equalize, identity     solarize                  from 256 (1 - m)

Pixels from outside the image are grey, 128 of 255. If the range ends below 255, as for the digits at 16, the pixels are
stretched to 255 and shrunk again afterwards, by `at_full_range`.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance

_GREY = 128
# Pixels that are changed at once; more of them, as floats, would not fit into the processor's cache.
_CACHED = 2**18

# Takes images and the strength of each, from -1 to 1.
Operation = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _map_images(change: Callable[[Image.Image, float], Image.Image]) -> Operation:
    """Applies a change of one Pillow image to several images."""

    def operation(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        grey = images.shape[-1] == 1
        out = np.empty_like(images)
        for index, (image, strength) in enumerate(zip(images, strengths.tolist(), strict=True)):
            changed = np.asarray(change(Image.fromarray(image[..., 0] if grey else image), strength))
            out[index] = changed[..., None] if grey else changed
        return out

    return operation


def _affine(
    matrix: Callable[[float, Image.Image], tuple[float, ...]], resample: Image.Resampling = Image.Resampling.BILINEAR
) -> Operation:
    def change(image: Image.Image, strength: float) -> Image.Image:
        numbers, fill = matrix(strength, image), _fill(image)
        return image.transform(image.size, Image.Transform.AFFINE, numbers, resample, fillcolor=fill)

    return _map_images(change)


def _translate(shift: Callable[[float, Image.Image], tuple[int, int]]) -> Operation:
    """Moves images by whole pixels, for which nothing needs to be interpolated."""

    def matrix(strength: float, image: Image.Image) -> tuple[float, ...]:
        across, down = shift(strength, image)
        return 1, 0, across, 0, 1, down

    return _affine(matrix, Image.Resampling.NEAREST)


def _rotate(image: Image.Image, strength: float) -> Image.Image:
    return image.rotate(30 * strength, Image.Resampling.BILINEAR, fillcolor=_fill(image))


def _fill(image: Image.Image) -> tuple[int, ...]:
    return (_GREY,) * len(image.getbands())


def _blend_with(base: Callable[[np.ndarray], np.ndarray]) -> Operation:
    """Blends an image without a property (strength -1 / 0.9) with one that has more of it."""

    def operation(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        nothing = base(images).astype("float32")
        changed = nothing + (1 + 0.9 * _broadcast(strengths).astype("float32")) * (images - nothing)
        return np.clip(np.round(changed), 0, 255).astype("uint8")

    return operation


def _luminance(images: np.ndarray) -> np.ndarray:
    if images.shape[-1] == 1:
        return images
    return np.round(images @ np.array([0.299, 0.587, 0.114], "float32"))[..., None]


def _auto_contrast(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    count, _, _, channels = images.shape
    # Channel by channel: reducing over all but a short last axis is slow.
    apart = np.ascontiguousarray(images.reshape(count, -1, channels).swapaxes(1, 2))
    least = apart.min(-1)[..., None].astype("float32")
    span, values = apart.max(-1)[..., None] - least, np.arange(256, dtype="float32")
    stretched = np.clip(np.round((values - least) * (255 / np.maximum(span, 1))), 0, 255)
    return _look_up(images, np.where(span > 0, stretched, values).astype("uint8"))


def _look_up(images: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Replaces each value by the one at its place in the table of its image and channel."""
    out = np.empty_like(images)
    for image, changed, of_channels in zip(images, out, tables, strict=True):
        for channel, table in enumerate(of_channels):
            found = image[..., channel].tobytes().translate(table.tobytes())
            changed[..., channel] = np.frombuffer(found, "uint8").reshape(image.shape[:2])
    return out


def _equalize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Maps each value to the share of pixels below it, in each channel."""
    count, _, _, channels = images.shape
    shifted = images + 256 * np.arange(count * channels).reshape(count, 1, 1, channels)
    histogram = np.bincount(shifted.ravel(), minlength=256 * count * channels).reshape(-1, 256)
    greatest = 255 - (histogram[:, ::-1] > 0).argmax(1)
    step = (histogram.sum(1) - histogram[np.arange(len(histogram)), greatest])[:, None] // 255
    below = histogram.cumsum(1) - histogram
    table = np.where(step > 0, (below + step // 2) // np.maximum(step, 1), np.arange(256))
    return np.clip(table, 0, 255).astype("uint8").ravel()[shifted]


def _posterize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    dropped = np.round(4 * np.abs(strengths)).astype("uint8")
    return images & _broadcast(np.uint8(255) << dropped)


def _solarize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    return np.where(images < _broadcast(np.round(256 * (1 - np.abs(strengths)))), images, 255 - images)


def _broadcast(numbers: np.ndarray) -> np.ndarray:
    return numbers[:, None, None, None]


OPERATIONS: dict[str, Operation] = {
    "identity": lambda images, strengths: images,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "rotate": _map_images(_rotate),
    "shear_x": _affine(lambda strength, image: (1, 0.3 * strength, -0.15 * strength * image.height, 0, 1, 0)),
    "shear_y": _affine(lambda strength, image: (1, 0, 0, 0.3 * strength, 1, -0.15 * strength * image.width)),
    "translate_x": _translate(lambda strength, image: (round(0.3 * strength * image.width), 0)),
    "translate_y": _translate(lambda strength, image: (0, round(0.3 * strength * image.height))),
    "colour": _blend_with(_luminance),
    "contrast": _blend_with(lambda images: _luminance(images).mean((1, 2, 3), keepdims=True)),
    "brightness": _blend_with(np.zeros_like),
    "sharpness": _map_images(lambda image, strength: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * strength)),
    "posterize": _posterize,
    "solarize": _solarize,
}


def rand_augment(
    images: np.ndarray,
    ops: int,
    magnitude: float,
    rng: np.random.Generator,
    count: int,
    indices: np.ndarray,
) -> np.ndarray:
    """Applies `ops` operations to each of some uint8 images, grey or RGB."""
    chosen = rng.integers(0, len(OPERATIONS), (ops, count))[:, indices]
    strengths = rng.choice((-0.1, 0.1), (ops, count))[:, indices] * magnitude
    images, step = images.copy(), max(1, _CACHED // images[0].size) if len(images) else 1
    for numbers, strength in zip(chosen, strengths, strict=True):
        for number, operation in enumerate(OPERATIONS.values()):
            chosen_by = np.flatnonzero(numbers == number)
            for start in range(0, len(chosen_by), step):
                here = chosen_by[start : start + step]
                images[here] = operation(images[here], strength[here])
    return images
