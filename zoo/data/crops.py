"""Crops of images that are larger than a network's input: the centre crop, or ten crops: those of the four corners and
the centre, and their mirror images.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from .rows import ReadWhenIndexed, Rows
from .source import Source
from .streaming.photos import Photos

COUNT = 10
# The shorter side of a photo, unless its reader sets one, relative to the size of the crops: 256 for 224, as in papers.
_SHORTER = 8 / 7


class Centres(ReadWhenIndexed):
    """Centre crops of images in memory or on disk, like an array (images, height, width, channels).

    Indexing the first axis gives an array in memory, and so does `numpy.asarray`.

    Args:
        images: The images.
        size: Height and width of the crops.
    """

    ndim = 4

    def __init__(self, images: "np.ndarray | Rows | Photos", size: tuple[int, ...]) -> None:
        self.images, self.crop, self.dtype = images, size, images.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.images), *self.crop, self.images.shape[-1])

    def __getitem__(self, which: Any) -> np.ndarray:
        return _cut(self.images[which], _centre(self.images.shape[1:3], self.crop), self.crop)


class TenCrops(Centres):
    """The ten crops of each image, like an array (images, 10, height, width, channels).

    Photos are resized first, so that their shorter side is the one that their reader sets, or else 8/7 of the crop's.
    """

    ndim = 5

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.images), COUNT, *self.crop, self.images.shape[-1])

    def __getitem__(self, which: Any) -> np.ndarray:
        places = np.arange(len(self.images))[which]
        crops = np.empty((len(places), *self.shape[1:]), self.dtype)
        for found, place in zip(crops, places.tolist(), strict=True):
            image = self._read(place)
            tall, wide = (side - cut for side, cut in zip(image.shape[:2], self.crop, strict=True))
            corners = ((0, 0), (0, wide), (tall, 0), (tall, wide), _centre(image.shape[:2], self.crop))
            found[:5] = [_cut(image, corner, self.crop) for corner in corners]
            found[5:] = found[:5, :, ::-1]
        return crops

    def _read(self, place: int) -> np.ndarray:
        if not isinstance(self.images, Photos):
            return self.images[place]
        from PIL import Image

        reader = self.images.reader
        image = replace(reader, size=None, shorter=None)(self.images.encoded(place))
        shorter, shortest = reader.shorter or round(_SHORTER * max(self.crop)), min(image.shape[:2])
        height, width = (shorter * side // shortest for side in image.shape[:2])
        opened = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        resized = opened.resize((width, height), Image.Resampling[reader.interpolation.upper()])
        return np.asarray(resized).reshape(height, width, -1)


def are_encoded(images: "np.ndarray | Rows | Photos | Centres") -> bool:
    """Whether images, or the images that crops are taken from, are decoded only when they are indexed."""
    return isinstance(images.images if isinstance(images, Centres) else images, Photos)


def crop_centres(source: Source, size: tuple[int, ...]) -> Source:
    """Takes the centre crops of the images of a source, which are in memory or on disk."""
    centres: Any = {f"{part}_inputs": Centres(getattr(source, f"{part}_inputs"), size) for part in source.parts}
    return replace(source, image=None, **centres)


def _centre(sides: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, int]:
    top, left = (round((side - cut) / 2) for side, cut in zip(sides, size, strict=True))
    return top, left


def _cut(images: np.ndarray, corner: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """Cuts a box from images (..., height, width, channels)."""
    (top, left), (height, width) = corner, size
    return images[..., top : top + height, left : left + width, :]
