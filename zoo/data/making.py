"""Makes batches, or slices of them, from (seed, epoch, batch) alone. Any process can do so, since it needs no Keras."""

import functools
from dataclasses import dataclass

import numpy as np

from ..tasks import Task
from .augmentation import Augmentation
from .augmentation.boxes import Box, crop_and_resize, crop_box, draw_boxes, erase
from .augmentation.colours import add_lighting_noise, jitter
from .augmentation.rand_augment import rand_augment
from .augmentation.transforms import at_full_range, crop, cut_out, flip, mix, resize, resized_width
from .rows import chunks
from .source import Preprocessing

NOTHING = Augmentation()
# Random numbers are drawn by a generator for a whole batch of so many examples, and used at these places of it.
Draws = tuple[np.random.Generator, int, np.ndarray]


@dataclass(eq=False, repr=False)
class BatchMaker:
    """Makes any slice of any batch, with the channels last.

    It holds only arrays and settings, so it can be pickled for another process, which need not import Keras.

    Attributes:
        images, labels, preprocessing, batch_size, seed, augmentation, epochs: As in `zoo.Batches`.
        outputs: The number of classes, or of other outputs.
        task: What the labels are.
        brightest: The largest possible pixel, for RandAugment and changes of colour.

    Example:

    >>> import zoo
    >>> from zoo.data.making import BatchMaker
    >>> from zoo.tasks import task_of
    >>> digits = zoo.load_source("digits")
    >>> maker = BatchMaker(digits.train_inputs, digits.train_targets, 10, digits.preprocessing, 128, task_of(digits), 0)
    >>> images, labels = maker.make(epoch=3, index=1, shard=(0, 4))
    >>> images.shape, labels.shape
    ((32, 8, 8, 1), (32, 10))
    """

    images: np.ndarray
    labels: np.ndarray
    outputs: int
    preprocessing: Preprocessing
    batch_size: int
    task: Task
    seed: int | None = None
    augmentation: Augmentation = NOTHING
    epochs: int = 1
    brightest: float = 255

    def make(self, epoch: int, index: int, shard: tuple[int, int] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
        """Makes a batch, or its slice (rank, count): the slices of all ranks together are the batch."""
        chosen = self.order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        count, (rank, ranks) = len(chosen), shard
        mixes = self.seed is not None and self.augmentation.mixes
        # Each image is mixed with the next one, and the last one with the first; the order is random already.
        indices = np.arange(rank * count // ranks, (rank + 1) * count // ranks + mixes) % count
        which = chosen[indices]
        labels = self.task.encode(self.labels[which], self.outputs)
        if self.seed is None:
            return self.preprocessing(self.images[which]), labels
        rng = np.random.default_rng((self.seed, epoch, 1, index))
        if self.augmentation.crop_area:
            images, labels = self._crop(labels, (rng, count, indices), epoch, which)
        else:
            images = self.images[which]
        return self._augment(images, labels, (rng, count, indices), epoch, which)

    @property
    def batches_per_epoch(self) -> int:
        """How many batches a whole epoch has."""
        return -(-len(self.images) // self.batch_size)

    def height(self, epoch: int) -> int | None:
        """The height of the images of an epoch; None: their own."""
        return self.augmentation.height(epoch / self.epochs)

    def order(self, epoch: int) -> np.ndarray:
        return _shuffle(self.seed, epoch, len(self.images))

    def _crop(self, labels: np.ndarray, draws: Draws, epoch: int, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Makes random-resized crops of the images, and the same crops of the labels if these are masks."""
        options, (_, height, width, _) = self.augmentation, self.images.shape
        boxes = draw_boxes(*draws)

        def box(place: int, height: int, width: int) -> Box:
            return crop_box(boxes[place], height, width, options.crop_area, options.crop_ratio)

        tall = self.height(epoch) or height
        size = tall, resized_width(height, width, tall)
        images = crop_and_resize(self.images, which, box, size, options.crop_interpolation)
        if self.task.per_pixel:
            masks = labels[..., None].astype("uint8")
            labels = crop_and_resize(masks, np.arange(len(which)), box, size, "nearest")[..., 0]
        return images, labels

    def _recolour(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Changes the colours of images whose pixels go up to 255."""
        options = self.augmentation
        if options.rand_ops:
            images = rand_augment(images, options.rand_ops, options.rand_magnitude, *draws)
        if options.jitters:
            images = jitter(images, options, *draws)
        return add_lighting_noise(images, options.lighting, *draws) if options.lighting else images

    def _augment(
        self, images: np.ndarray, labels: np.ndarray, draws: Draws, epoch: int, which: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        options, channels = self.augmentation, images.shape[-1]
        if self.task.per_pixel:
            # A mask moves as one more channel: 255 - mask, so that the zeros of padding and cutout become 255, ignored.
            images = np.concatenate([images, 255 - labels[..., None].astype("uint8")], axis=-1)
        if options.pad:
            images = crop(images, options.pad, options.pad_mode, *draws)
        if options.flip == "alternating":
            images = flip(images, _mirrored(self.seed or 0, len(self.images))[which] ^ bool(epoch % 2))
        elif options.flip:
            rng, count, indices = draws
            images = flip(images, rng.random(count)[indices] < 0.5)
        images, masks = images[..., :channels], images[..., channels:]
        if options.recolours:
            images = at_full_range(images, self.brightest, lambda seen: self._recolour(seen, draws))
        images = self.preprocessing(images)
        if self.task.per_pixel:
            images = np.concatenate([images, masks], axis=-1)
        if options.cutout:
            images = cut_out(images, options.cutout, *draws)
        if options.erasing:
            images = erase(images, options, *draws, channels)
        if self.task.per_pixel:
            images, labels = images[..., :-1], 255 - images[..., -1].astype("int32")
        if options.mixes:
            images, labels = mix(images, labels, options, *draws)
        height = self.height(epoch)
        return images if height in (None, images.shape[1]) else resize(images, height), labels


@functools.lru_cache(maxsize=4)
def _shuffle(seed: int | None, epoch: int, count: int) -> np.ndarray:
    """The order of the examples in an epoch; without a seed, the order of the data."""
    return np.arange(count) if seed is None else np.random.default_rng((seed, epoch, 0)).permutation(count)


@functools.lru_cache(maxsize=2)
def _mirrored(seed: int, count: int) -> np.ndarray:
    """Whether each image is mirrored in epoch 0. No other generator has these three numbers."""
    return np.random.default_rng((seed, 0, 2)).random(count) < 0.5


def find_brightest(images: np.ndarray, preprocessing: Preprocessing) -> float:
    """Finds the largest possible pixel: the value that `preprocessing.scale` makes 1, or 255 if pixels exceed it."""
    brightest = 1 / preprocessing.scale
    if abs(brightest - 255) < 0.5:
        return 255
    found = 0
    for chunk in chunks(images):
        found = max(found, int(chunk.max()))
        if found > max(brightest, 127):
            return 255
    if found <= brightest <= 255:
        return brightest
    if found > 127:
        return 255
    raise ValueError(
        "Expected pixels from 0 to 255, or from 0 to 1 / preprocessing.scale, for rand_ops, colour jitter and "
        f"lighting, which need their range. Received: pixels up to {found}, scale={preprocessing.scale!r}"
    )
