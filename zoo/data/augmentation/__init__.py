"""The settings of the changes to training images; the changes are in `transforms` and `rand_augment`."""

from dataclasses import dataclass
from itertools import pairwise

PAD_MODES = ("constant", "reflect")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The changes to training images, in this order; all but the last are random.

    Attributes:
        pad: Pixels by which an image is padded on each side before a random crop of its size.
        pad_mode: "constant" (zeros) or "reflect".
        flip: Whether images are mirrored, left to right, at random. "alternating": each image is mirrored in every
            other epoch.
        rand_ops: RandAugment: how many operations each image gets, within the range of its pixels.
        rand_magnitude: RandAugment: their strength, from 0 to 10.
        cutout: Side, in pixels, of a square that is replaced by the mean, 0 after standardisation. Its centre is any
            pixel, so part of it may lie outside the image.
        mixup: Alpha of the beta distribution of the weights with which two images and their labels are averaged.
        cutmix: Alpha of the beta distribution of the area that stays when a box of another image is pasted; the
            labels are averaged by area. With `mixup` as well, each image gets one of the two at random.
        sizes: Progressive resizing. ((0.0, 20), (0.6, 32)) shrinks images to a height of 20 pixels and a width in
            proportion, and to 32 from the first epoch that begins at or after 0.6 of the run. The network must take
            images of any size.

    References:
        - [DeVries & Taylor, 2017](https://arxiv.org/abs/1708.04552): cutout
        - [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719): RandAugment
        - [Zhang et al., 2017](https://arxiv.org/abs/1710.09412): mixup
        - [Yun et al., 2019](https://arxiv.org/abs/1905.04899): CutMix
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498): alternating flip

    Example:

    >>> from zoo.data import Augmentation
    >>> Augmentation(pad=4, flip=True).cutout
    0
    """

    pad: int = 0
    pad_mode: str = "constant"
    flip: bool | str = False
    cutout: int = 0
    rand_ops: int = 0
    rand_magnitude: float = 9.0
    mixup: float = 0.0
    cutmix: float = 0.0
    sizes: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("pad", "cutout", "rand_ops"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._check(name, "an integer of at least 0", whole and value >= 0)
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            self._check(name, "a finite number of at least 0", _is_real(value) and 0 <= value < float("inf"))
        magnitude = self.rand_magnitude
        self._check("rand_magnitude", "a number from 0 to 10", _is_real(magnitude) and 0 <= magnitude <= 10)
        self._check("pad_mode", f"one of {', '.join(PAD_MODES)}", self.pad_mode in PAD_MODES)
        self._check("flip", 'True, False or "alternating"', isinstance(self.flip, bool) or self.flip == "alternating")
        sizes = isinstance(self.sizes, (tuple, list)) and all(map(_is_size, self.sizes))
        rising = sizes and all(one[0] < other[0] for one, other in pairwise(self.sizes))
        self._check("sizes", "pairs of a fraction of the run, each larger than the last, and pixels", rising)
        object.__setattr__(self, "sizes", tuple(map(tuple, self.sizes)))

    def _check(self, name: str, wanted: str, fits: bool) -> None:
        if not fits:
            raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={getattr(self, name)!r}")

    def height(self, progress: float) -> int | None:
        """The height of images at a fraction of the run; None: their own."""
        return next((height for start, height in reversed(self.sizes) if start <= progress), None)

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


def _is_size(pair: object) -> bool:
    """Whether a pair is a fraction and a number of pixels."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    start, height = pair
    whole = isinstance(height, int) and not isinstance(height, bool)
    return _is_real(start) and 0 <= start < 1 and whole and height > 0


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
