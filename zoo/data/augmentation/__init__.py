"""The settings of augmentation, the changes to training images. The changes themselves are in

boxes.py            random-resized crops, random erasing
colours.py          colour jitter, lighting noise
rand_augment.py     RandAugment
transforms.py       the other ones
checks.py           whether they suit inputs and targets
"""

import sys
from dataclasses import dataclass
from itertools import pairwise

OPENCV = "opencv"
# Pillow's filters; `export.images` has them too, which the command line does not load to list recipes.
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", OPENCV)
PAD_MODES = ("constant", "reflect")
FILLS = ("mean", "noise")
COLOURS = ("brightness", "contrast", "saturation", "hue")
_FINITE = sys.float_info.max
# The values that settings may have: numbers up to these, these names, and pairs of positive numbers up to these.
_MOST = {
    "rand_magnitude": 10,
    **dict.fromkeys(("brightness", "contrast", "saturation"), 1),
    "hue": 0.5,
    **dict.fromkeys(("erasing", "mix_probability", "cutmix_probability"), 1),
    **dict.fromkeys(("lighting", "mixup", "cutmix"), _FINITE),
}
_NAMES = {"pad_mode": PAD_MODES, "crop_interpolation": INTERPOLATIONS, "erasing_fill": FILLS}
_RANGES = {
    **dict.fromkeys(("crop_area", "erasing_area"), ("share of the area, above 0 and up to 1", 1)),
    **dict.fromkeys(("crop_ratio", "erasing_ratio"), ("ratio of width to height, above 0", _FINITE)),
}


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The changes to training images, in this order; all but the last are random.

    Attributes:
        crop_area: Random-resized crop: the smallest and the largest share of an image's area that is cropped and
            resized to the network's input, such as (0.08, 1.0). Streamed photos are cropped from the original. Empty:
            no such crop.
        crop_ratio: The smallest and the largest ratio of width to height of that crop.
        crop_interpolation: How the crop is resized: a filter of Pillow, by name. "opencv", for streamed photos only,
            takes half the time: it is bilinear without antialiasing.
        pad: Pixels by which an image is padded on each side before a random crop of its size.
        pad_mode: "constant" (zeros) or "reflect".
        flip: Whether images are mirrored, left to right, at random. "alternating": each image is mirrored in every
            other epoch.
        rand_ops: RandAugment: how many operations each image gets, within the range of its pixels.
        rand_magnitude: RandAugment: their strength, from 0 to 10.
        brightness, contrast, saturation: Colour jitter: each is multiplied by a random factor from 1 - s to 1 + s.
        hue: Colour jitter: the largest shift of the hue in either direction, at most 0.5, half of the colour circle.
            These four changes are applied in a random order.
        lighting: Standard deviation of the noise along the principal components of ImageNet's colours.
        cutout: Side, in pixels, of a square that is replaced by the mean, 0 after standardisation. Its centre is any
            pixel, so part of it may lie outside the image.
        erasing: Random erasing: the probability that a random box of an image is replaced.
        erasing_area, erasing_ratio: The smallest and the largest share of the image's area that the box has, and the
            smallest and the largest ratio of its width to its height.
        erasing_fill: "mean", 0 after standardisation, or "noise", normal with a standard deviation of 1.
        mixup: Alpha of the beta distribution of the weights with which two images and their labels are averaged.
        cutmix: Alpha of the beta distribution of the area that stays when a box of another image is pasted; the
            labels are averaged by area.
        mix_probability: The probability that an image is mixed with another one.
        cutmix_probability: With both `mixup` and `cutmix`, the probability that a mixed image gets a box.
        sizes: Progressive resizing. ((0.0, 20), (0.6, 32)) shrinks images to a height of 20 pixels and a width in
            proportion, and to 32 from the first epoch that begins at or after 0.6 of the run. A random-resized crop
            is resized to them directly. The network must take images of any size. ((0.0, 160),) trains at 160 pixels,
            and evaluates at the larger size of the data.

    References:
        - [Szegedy et al., 2014](https://arxiv.org/abs/1409.4842): random-resized crop
        - [Krizhevsky et al., 2012](https://papers.nips.cc/paper/4824): lighting noise, and ten crops in evaluation
        - [Howard, 2013](https://arxiv.org/abs/1312.5402): colour jitter
        - [DeVries & Taylor, 2017](https://arxiv.org/abs/1708.04552): cutout
        - [Cubuk et al., 2019](https://arxiv.org/abs/1909.13719): RandAugment
        - [Zhong et al., 2017](https://arxiv.org/abs/1708.04896): random erasing
        - [Zhang et al., 2017](https://arxiv.org/abs/1710.09412): mixup
        - [Yun et al., 2019](https://arxiv.org/abs/1905.04899): CutMix
        - [Wightman et al., 2021](https://arxiv.org/abs/2110.00476): both of these, each with a probability
        - [Touvron et al., 2019](https://arxiv.org/abs/1906.06423): smaller images in training than in evaluation
        - [Jordan, 2024](https://arxiv.org/abs/2404.00498): alternating flip

    Example:

    >>> from zoo.data import Augmentation
    >>> Augmentation(pad=4, flip=True).cutout
    0
    >>> photos = Augmentation(crop_area=(0.08, 1.0), flip=True, brightness=0.4, contrast=0.4, saturation=0.4)
    """

    crop_area: tuple[float, ...] = ()
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_interpolation: str = "bilinear"
    pad: int = 0
    pad_mode: str = "constant"
    flip: bool | str = False
    cutout: int = 0
    rand_ops: int = 0
    rand_magnitude: float = 9.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    lighting: float = 0.0
    erasing: float = 0.0
    erasing_area: tuple[float, float] = (0.02, 1 / 3)
    erasing_ratio: tuple[float, float] = (0.3, 1 / 0.3)
    erasing_fill: str = "mean"
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    cutmix_probability: float = 0.5
    sizes: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("pad", "cutout", "rand_ops"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._check(name, "an integer of at least 0", whole and value >= 0)
        for name, most in _MOST.items():
            wanted = f"a number from 0 to {most}" if most < _FINITE else "a finite number of at least 0"
            self._check(name, wanted, _is_within(getattr(self, name), 0, most))
        for name, allowed in _NAMES.items():
            self._check(name, f"one of {', '.join(allowed)}", getattr(self, name) in allowed)
        for name, (wanted, most) in _RANGES.items():
            value = getattr(self, name)
            none = name == "crop_area" and value in ((), [])
            self._check(name, f"the smallest and the largest {wanted}", none or _is_range(value, most))
            object.__setattr__(self, name, tuple(value))
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
    def jitters(self) -> bool:
        """Whether colours are jittered."""
        return any(getattr(self, name) for name in COLOURS)

    @property
    def recolours(self) -> bool:
        """Whether colours change, which needs pixels from 0 to 255."""
        return bool(self.rand_ops or self.jitters or self.lighting)

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


def _is_range(pair: object, most: float) -> bool:
    """Whether a pair is two positive numbers up to a bound, the larger one last."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        return False
    return all(_is_within(value, 0, most) and value > 0 for value in pair) and pair[0] <= pair[1]


def _is_within(value: object, least: float, most: float) -> bool:
    return _is_real(value) and least <= value <= most  # type: ignore[operator]


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
