"""`Photos`: images that stay encoded on disk, and are decoded when they are indexed."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from export.images import BadImage, ImageReader, in_mode, open_image

from ..decoding import SizesDifferError
from ..rows import ReadWhenIndexed, split_index
from . import opencv

if TYPE_CHECKING:
    from PIL.Image import Image

# Takes the number of an image among those asked for, and its height and width; returns top, left, height and width.
Box = Callable[[int, int, int], tuple[float, float, float, float]]


class Encoded(Protocol):
    """Where the bytes of images are."""

    def __len__(self) -> int: ...

    def read(self, place: int) -> bytes: ...

    def name(self, place: int) -> str: ...


class Photos(ReadWhenIndexed):
    """Encoded images on disk that behave like a uint8 array (images, height, width, channels) of decoded ones.

    Indexing the first axis decodes the chosen images into memory; `numpy.asarray` decodes all of them. This needs
    neither Keras nor TensorFlow, and a copy in another process is small.

    Args:
        files: Where the images are.
        reader: Decodes and resizes them.
        places: The numbers of the images in `files`, in the order wanted. Default: all.
        size: Height and width of all images, for a reader that does not resize.

    Raises:
        ValueError: On indexing, if an image cannot be decoded, or has another size.

    Example:

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> import zoo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for number in range(10):
    ...         path = Path(folder, ("cat", "dog")[number % 2], f"{number}.png")
    ...         path.parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (40, 30), "red").save(path)
    ...     photos = zoo.load_source(folder, image_size=(16, 16), stream=True, cache=False).train_inputs
    ...     print(photos.shape, photos[0, 0, 0].tolist())
    (8, 16, 16, 3) [255, 0, 0]
    """

    dtype = np.dtype("uint8")
    ndim = 4

    def __init__(
        self,
        files: Encoded,
        reader: ImageReader,
        places: np.ndarray | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.files, self.reader = files, reader
        self.places = np.arange(len(files), dtype="int32") if places is None else places
        height, width = reader.size or size or (0, 0)
        self.image_shape = height, width, reader.channels or 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self.places), *self.image_shape)

    def __repr__(self) -> str:
        return f"Photos(shape={self.shape}, reader={self.reader})"

    def __getitem__(self, index: Any) -> np.ndarray:
        first, rest = split_index(index)
        places = self.places[first]
        if np.ndim(places) == 0:
            return self._decode(int(places))[tuple(rest)]
        images = np.empty((len(places), *self.image_shape), "uint8")
        for number, place in enumerate(places):
            images[number] = self._decode(int(place))
        return images[(slice(None), *rest)]

    def select(self, indices: np.ndarray) -> "Photos":
        """Some of these images, still encoded."""
        return Photos(self.files, self.reader, self.places[indices], self.image_shape[:2])

    def encoded(self, index: int) -> bytes:
        """The bytes of an image as they are on disk."""
        return self.files.read(int(self.places[index]))

    def cropped(
        self, which: Sequence[int] | np.ndarray, box: Box, size: tuple[int, int], interpolation: str = "bicubic"
    ) -> np.ndarray:
        """Crops a box from each original image, and resizes it with antialiasing.

        A JPEG is decoded at the scale that the box needs.

        Args:
            which: The indices of the images.
            box: Takes the position of an image in `which`, and the height and width of the original; returns top, left,
                height and width of the box in pixels of the original.
            size: Height and width to resize the boxes to.
            interpolation: A filter of Pillow, by name. "opencv" is bilinear without antialiasing for upright JPEGs in
                colour, and Pillow's "bilinear" for other images.

        Returns:
            uint8 (len(which), *size, channels).
        """
        images = np.empty((len(which), *size, self.image_shape[-1]), "uint8")
        for number, place in enumerate(self.places[np.asarray(which)]):
            images[number] = self._cut(int(place), lambda *sides, at=number: box(at, *sides), size, interpolation)
        return images

    def _decode(self, place: int) -> np.ndarray:
        try:
            image = self.reader(self.files.read(place))
        except BadImage as error:
            raise self._damaged(place, error) from None
        if image.shape != self.image_shape:
            height, width, _ = self.image_shape
            raise SizesDifferError(
                f"Expected images of one size, {height}x{width}, or image_size=(height, width) to resize them to. "
                f"Received: {self.files.name(place)} of {image.shape[0]}x{image.shape[1]} (height x width)"
            )
        return image

    def _cut(self, place: int, box: Callable, size: tuple[int, int], interpolation: str) -> np.ndarray:
        from PIL.Image import Resampling

        found: list[tuple] = []

        def least(height: int, width: int) -> tuple[int, int]:
            found.append(((height, width), box(height, width)))
            (_, (_, _, rows, columns)) = found[0]
            return math.ceil(size[0] * height / rows), math.ceil(size[1] * width / columns)

        data = self.files.read(place)
        if interpolation == opencv.NAME:
            try:
                pixels = opencv.crop(data, box, size) if self.image_shape[-1] == 3 else None
            except ValueError as error:
                raise self._damaged(place, error) from None
            if pixels is not None:
                return pixels
            interpolation = "bilinear"
        try:
            opened = open_image(data, least)
        except BadImage as error:
            raise self._damaged(place, error) from None
        ((height, width), (top, left, rows, columns)) = found[0]
        down, across = opened.height / height, opened.width / width
        right, bottom = min((left + columns) * across, opened.width), min((top + rows) * down, opened.height)
        edges = (left * across, top * down, right, bottom)
        resized = self._to_channels(opened).resize(size[::-1], Resampling[interpolation.upper()], box=edges)
        pixels = np.asarray(resized)
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def _to_channels(self, image: "Image") -> "Image":
        return in_mode(image, "L" if self.image_shape[-1] == 1 else "RGB")

    def _damaged(self, place: int, error: ValueError) -> ValueError:
        return ValueError(
            f"Expected images that can be read, or on_bad_image='skip' to leave out the others. "
            f"Received: {self.files.name(place)} ({error})"
        )
