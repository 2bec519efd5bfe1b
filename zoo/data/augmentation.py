"""Random changes to training images: what there is to set, and the changes, each of a whole batch at once.

Every change draws its numbers for the whole batch and then applies those at the `places` it is asked for. So a process
that holds a slice of the batch makes of it what a process that holds all of it would.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

PAD_MODES = ("constant", "reflect")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What happens to training images at random, in this order.

    Attributes:
        pad: Pixels by which an image is padded on each side before a random crop of its size.
        pad_mode: "constant" (zeros) or "reflect".
        flip: Whether images are mirrored, left to right, at random.
        rand_ops: RandAugment: operations for each image.
        rand_magnitude: RandAugment: their strength, from 0 to 10.
        cutout: Side, in pixels, of a square that is replaced by the mean, 0 after standardisation. Its centre is any
            pixel of the image, so that a part of it may lie outside.
        mixup: Alpha of the beta distribution of the weights with which two images and their labels are averaged.
        cutmix: Alpha of the beta distribution of the area that stays when a box of another image is pasted; the
            labels are averaged by area. With `mixup` as well, each image has one of the two, by chance.

    References:
        - [DeVries & Taylor, 2017](https://arxiv.org/abs/1708.04552): cutout
        - [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719): RandAugment
        - [Zhang et al., 2017](https://arxiv.org/abs/1710.09412): mixup
        - [Yun et al., 2019](https://arxiv.org/abs/1905.04899): CutMix

    Example:

    >>> from zoo.data import Augmentation
    >>> Augmentation(pad=4, flip=True).cutout
    0
    """

    pad: int = 0
    pad_mode: str = "constant"
    flip: bool = False
    cutout: int = 0
    rand_ops: int = 0
    rand_magnitude: float = 9.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name in ("pad", "cutout", "rand_ops"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._check(name, "an integer of at least 0", whole and value >= 0)
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            self._check(name, "a finite number of at least 0", _real(value) and 0 <= value < float("inf"))
        magnitude = self.rand_magnitude
        self._check("rand_magnitude", "a number from 0 to 10", _real(magnitude) and 0 <= magnitude <= 10)
        self._check("pad_mode", f"one of {', '.join(PAD_MODES)}", self.pad_mode in PAD_MODES)
        self._check("flip", "True or False", isinstance(self.flip, bool))

    def _check(self, name: str, wanted: str, fits: bool) -> None:
        if not fits:
            raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={getattr(self, name)!r}")

    @property
    def mixes(self) -> bool:
        """Whether an image takes something of another one."""
        return self.mixup > 0 or self.cutmix > 0


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def crop(
    images: np.ndarray, pad: int, mode: str, rng: np.random.Generator, count: int, places: np.ndarray
) -> np.ndarray:
    """Random crops of the padded images, of the images' own size."""
    number, height, width, channels = images.shape
    top, left = rng.integers(0, 2 * pad + 1, (2, count))[:, places]
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode=mode)  # type: ignore[call-overload]
    # Whole rows of windows are copied, not single pixels.
    rows = padded.reshape(number, height + 2 * pad, -1)
    windows = np.lib.stride_tricks.sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    return windows[np.arange(number), top, left * channels].reshape(images.shape)


def flip(images: np.ndarray, rng: np.random.Generator, count: int, places: np.ndarray) -> np.ndarray:
    """The images, half of them mirrored left to right."""
    mirrored = np.flatnonzero(rng.random(count)[places] < 0.5)
    out = images.copy()
    out[mirrored] = images[mirrored][:, :, ::-1]
    return out


def cut_out(images: np.ndarray, side: int, rng: np.random.Generator, count: int, places: np.ndarray) -> np.ndarray:
    """Standardised images with 0 in a square around a pixel of each."""
    _, height, width, _ = images.shape
    row, column = (rng.integers(0, size, count)[places] for size in (height, width))
    top, left = row - side // 2, column - side // 2
    images[box(top, left, top + side, left + side, height, width)] = 0
    return images


def box(
    top: np.ndarray, left: np.ndarray, bottom: np.ndarray, right: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The pixels of each image from `top` and `left` to before `bottom` and `right`, as (images, height, width)."""
    rows, columns = np.arange(height), np.arange(width)
    vertical = (rows >= top[:, None]) & (rows < bottom[:, None])
    horizontal = (columns >= left[:, None]) & (columns < right[:, None])
    return vertical[:, :, None] & horizontal[:, None, :]


def mix(
    images: np.ndarray,
    labels: np.ndarray,
    augmentation: Augmentation,
    rng: np.random.Generator,
    count: int,
    places: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Every image but the last with a part of the one after it: lambda * own + (1 - lambda) * other, labels alike."""
    # A box has its centre anywhere, and what lies outside of the image is cut off: the area is that of what is left.
    here = places[:-1]
    by_box = (rng.random(count) < _share(augmentation))[here]
    alphas = augmentation.mixup, augmentation.cutmix
    share, kept = (rng.beta(alpha, alpha, count)[here] if alpha else np.ones(len(here)) for alpha in alphas)
    centre = rng.random((2, count))[:, here]
    own, other = images[:-1], images[1:]
    weight = np.where(by_box, 1, share).astype("float32")
    if augmentation.mixup:
        each = weight[:, None]
        mixed = own.reshape(len(here), -1) * each
        mixed += other.reshape(len(here), -1) * (1 - each)
        own = mixed.reshape(own.shape)
    if augmentation.cutmix:
        _, height, width, _ = images.shape
        side = np.sqrt(np.where(by_box, 1 - kept, 0))
        (top, bottom), (left, right) = (
            np.clip(np.round((middle + np.multiply.outer((-0.5, 0.5), side)) * size), 0, size)
            for middle, size in zip(centre, (height, width), strict=True)
        )
        pasted = box(top, left, bottom, right, height, width)
        own = np.where(pasted[..., None], other, own)
        weight = weight * (1 - pasted.mean((1, 2), dtype="float32"))
    return own, weight[:, None] * labels[:-1] + (1 - weight[:, None]) * labels[1:]


def _share(augmentation: Augmentation) -> float:
    """The share of the images that have a box of another one pasted, among those that are mixed."""
    return 0.5 if augmentation.mixup and augmentation.cutmix else float(augmentation.cutmix > 0)
