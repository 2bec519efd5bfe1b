"""Changes to training images, each to a whole batch at once.

Each random change draws its numbers for the whole batch and then uses those at the given `indices`. So a process that
holds a slice of the batch changes it in the same way as a process that holds all of it.
"""

import functools
from collections.abc import Callable

import numpy as np

from . import Augmentation


def crop(
    images: np.ndarray, pad: int, mode: str, rng: np.random.Generator, count: int, indices: np.ndarray
) -> np.ndarray:
    """Crops the padded images at random to their original size."""
    number, height, width, channels = images.shape
    top, left = rng.integers(0, 2 * pad + 1, (2, count))[:, indices]
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)  # type: ignore[call-overload]
    # Copies whole rows of windows, not single pixels.
    rows = padded.reshape(number, height + 2 * pad, (width + 2 * pad) * channels)
    windows = np.lib.stride_tricks.sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    return windows[np.arange(number), top, left * channels].reshape(images.shape)


def flip(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Mirrors the chosen images left to right."""
    mirrored = np.flatnonzero(chosen)
    out, before = images.copy(), images[mirrored]
    # One channel at a time: NumPy would copy each pixel's few bytes on their own, which takes five times as long.
    for channel in range(images.shape[-1]):
        out[mirrored, ..., channel] = before[:, :, ::-1, channel]
    return out


def cut_out(images: np.ndarray, side: int, rng: np.random.Generator, count: int, indices: np.ndarray) -> np.ndarray:
    """Sets a square around a random pixel of each standardised image to 0."""
    _, height, width, _ = images.shape
    row, column = (rng.integers(0, size, count)[indices] for size in (height, width))
    top, left = row - side // 2, column - side // 2
    for image, y, x in zip(images, top.tolist(), left.tolist(), strict=True):
        image[max(y, 0) : y + side, max(x, 0) : x + side] = 0
    return images


def at_full_range(images: np.ndarray, brightest: float, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Applies a change of pixels from 0 to 255 to those from 0 to `brightest`; returns floats unless that is 255."""
    if brightest == 255:
        return change(images)
    stretched = np.round(images.astype("float32") * (255 / brightest)).astype("uint8")
    return change(stretched).astype("float32") * (brightest / 255)


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    count: int,
    indices: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Mixes each image but the last with the next one: lambda * own + (1 - lambda) * other, and the labels alike."""
    here = indices[:-1]
    height, width = images.shape[1:3]
    by_box = (rng.random(count) < _share(augmentation))[here]
    alphas = augmentation.mixup, augmentation.cutmix
    share, kept = (rng.beta(alpha, alpha, count)[here] if alpha else np.ones(len(here)) for alpha in alphas)
    # A box may be centred anywhere. Its part outside the image is cut off, and the rest counts as its area.
    centre, side = rng.random((2, count))[:, here], np.sqrt(1 - kept)
    (top, bottom), (left, right) = (
        np.clip(np.round((middle + np.multiply.outer((-0.5, 0.5), side)) * size), 0, size).astype(int)
        for middle, size in zip(centre, (height, width), strict=True)
    )
    if augmentation.mix_probability < 1:
        whole = (rng.random(count) >= augmentation.mix_probability)[here]
        bottom, share = np.where(whole, top, bottom), np.where(whole, 1, share)
    area = (bottom - top) * (right - left) / (height * width)
    weight = np.where(by_box, 1 - area, share).astype("float32")
    # One after the other and in place, because an image is not needed once the one before it is mixed: the memory of
    # whole batches costs more time than the arithmetic.
    for index in range(len(here)):
        own, other = images[index], images[index + 1]
        if by_box[index]:
            box_of = np.s_[top[index] : bottom[index], left[index] : right[index]]
            own[box_of] = other[box_of]
        else:
            own *= weight[index]
            own += (1 - weight[index]) * other
    return images[:-1], weight[:, None] * labels[:-1] + (1 - weight[:, None]) * labels[1:]


def resize(images: np.ndarray, height: int) -> np.ndarray:
    """Resizes images in proportion, with bilinear interpolation and antialiasing as in Pillow."""
    number, old_height, old_width, channels = images.shape
    width = resized_width(old_height, old_width, height)
    rows = _resampling(old_height, height) @ images.reshape(number, old_height, -1)
    columns = np.kron(_resampling(old_width, width).T, np.eye(channels, dtype="float32"))
    return (rows @ columns).reshape(number, height, width, channels)


def resized_width(old_height: int, old_width: int, height: int) -> int:
    """The width that goes with a new height."""
    return max(1, round(old_width * height / old_height))


@functools.cache
def _resampling(old: int, new: int) -> np.ndarray:
    """The matrix that resamples `old` pixels in a line to `new` ones."""
    step = old / new
    centres, pixels = (np.arange(new)[:, None] + 0.5) * step, np.arange(old) + 0.5
    weights = np.maximum(0, 1 - np.abs(pixels - centres) / max(step, 1))
    return (weights / weights.sum(axis=1, keepdims=True)).astype("float32")


def _share(augmentation: Augmentation) -> float:
    """The share of the mixed images that get a box of another one."""
    both = augmentation.mixup and augmentation.cutmix
    return augmentation.cutmix_probability if both else float(augmentation.cutmix > 0)
