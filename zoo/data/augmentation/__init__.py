"""The settings of the random changes to training images; the changes are in `transforms` and `rand_augment`."""

from dataclasses import dataclass

PAD_MODES = ("constant", "reflect")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The random changes to training images, in this order.

    Attributes:
        pad: Pixels by which an image is padded on each side before a random crop of its size.
        pad_mode: "constant" (zeros) or "reflect".
        flip: Whether images are mirrored, left to right, at random.
        rand_ops: RandAugment: how many operations each image gets, within the range of its pixels.
        rand_magnitude: RandAugment: their strength, from 0 to 10.
        cutout: Side, in pixels, of a square that is replaced by the mean, 0 after standardisation. Its centre is any
            pixel, so part of it may lie outside the image.
        mixup: Alpha of the beta distribution of the weights with which two images and their labels are averaged.
        cutmix: Alpha of the beta distribution of the area that stays when a box of another image is pasted; the
            labels are averaged by area. With `mixup` as well, each image gets one of the two at random.

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
            self._check(name, "a finite number of at least 0", _is_real(value) and 0 <= value < float("inf"))
        magnitude = self.rand_magnitude
        self._check("rand_magnitude", "a number from 0 to 10", _is_real(magnitude) and 0 <= magnitude <= 10)
        self._check("pad_mode", f"one of {', '.join(PAD_MODES)}", self.pad_mode in PAD_MODES)
        self._check("flip", "True or False", isinstance(self.flip, bool))

    def _check(self, name: str, wanted: str, fits: bool) -> None:
        if not fits:
            raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={getattr(self, name)!r}")

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with each other."""
        return self.mixup > 0 or self.cutmix > 0


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
