"""Random changes to training images, each of a whole batch at once.

Every change draws its numbers for the whole batch and then applies those at the `indices` it is asked for. So a process
that holds a slice of the batch makes of it what a process that holds all of it would.
"""

import numpy as np

from .augmentation import Augmentation


def crop(
    images: np.ndarray, pad: int, mode: str, rng: np.random.Generator, count: int, indices: np.ndarray
) -> np.ndarray:
    """Random crops of the padded images, of the images' own size."""
    number, height, width, channels = images.shape
    top, left = rng.integers(0, 2 * pad + 1, (2, count))[:, indices]
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)  # type: ignore[call-overload]
    # Whole rows of windows are copied, not single pixels.
    rows = padded.reshape(number, height + 2 * pad, (width + 2 * pad) * channels)
    windows = np.lib.stride_tricks.sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    return windows[np.arange(number), top, left * channels].reshape(images.shape)


def flip(images: np.ndarray, rng: np.random.Generator, count: int, indices: np.ndarray) -> np.ndarray:
    """The images, half of them mirrored left to right."""
    mirrored = np.flatnonzero(rng.random(count)[indices] < 0.5)
    out = images.copy()
    out[mirrored] = images[mirrored][:, :, ::-1]
    return out


def cut_out(images: np.ndarray, side: int, rng: np.random.Generator, count: int, indices: np.ndarray) -> np.ndarray:
    """Standardised images with 0 in a square around a pixel of each."""
    _, height, width, _ = images.shape
    row, column = (rng.integers(0, size, count)[indices] for size in (height, width))
    top, left = row - side // 2, column - side // 2
    for image, y, x in zip(images, top.tolist(), left.tolist(), strict=True):
        image[max(y, 0) : y + side, max(x, 0) : x + side] = 0
    return images


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    count: int,
    indices: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Every image but the last with a part of the one after it: lambda * own + (1 - lambda) * other, labels alike."""
    here = indices[:-1]
    height, width = images.shape[1:3]
    by_box = (rng.random(count) < _share(augmentation))[here]
    alphas = augmentation.mixup, augmentation.cutmix
    share, kept = (rng.beta(alpha, alpha, count)[here] if alpha else np.ones(len(here)) for alpha in alphas)
    # A box has its centre anywhere, and what lies outside of the image is cut off: the area is that of what is left.
    centre, side = rng.random((2, count))[:, here], np.sqrt(1 - kept)
    (top, bottom), (left, right) = (
        np.clip(np.round((middle + np.multiply.outer((-0.5, 0.5), side)) * size), 0, size).astype(int)
        for middle, size in zip(centre, (height, width), strict=True)
    )
    area = (bottom - top) * (right - left) / (height * width)
    weight = np.where(by_box, 1 - area, share).astype("float32")
    # In their order and in place, since no image is needed once the one before it is done: the memory that whole
    # batches would take costs more than the arithmetic.
    for index in range(len(here)):
        own, other = images[index], images[index + 1]
        if by_box[index]:
            box_of = np.s_[top[index] : bottom[index], left[index] : right[index]]
            own[box_of] = other[box_of]
        else:
            own *= weight[index]
            own += (1 - weight[index]) * other
    return images[:-1], weight[:, None] * labels[:-1] + (1 - weight[:, None]) * labels[1:]


def _share(augmentation: Augmentation) -> float:
    """The share of the images that have a box of another one pasted, among those that are mixed."""
    return 0.5 if augmentation.mixup and augmentation.cutmix else float(augmentation.cutmix > 0)
