"""Reads images of any size as the raw input of an artifact that records how."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..images import BadImage, ImageLike, ImageReader


@dataclass(frozen=True)
class ImageInput:
    """The input of an artifact that takes images.

    Attributes:
        reader: Reads an image, with its channels last.
        channels_first: Whether the input has its channels first.
    """

    reader: ImageReader
    channels_first: bool

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> "ImageInput | None":
        """Reads the record of artifact.json; None if there is none."""
        record = manifest.get("image")
        return None if record is None else cls(ImageReader.from_dict(record), manifest.get("layout") == "nchw")

    def read(self, images: ImageLike | Sequence[ImageLike]) -> np.ndarray:
        """Reads one image, a sequence of them or an array (images, height, width, channels) as a batch.

        Raises:
            ValueError: If one cannot be decoded, there are none, or they keep sizes that differ.
            OSError: If a file cannot be read.
        """
        several = isinstance(images, (list, tuple)) or (isinstance(images, np.ndarray) and images.ndim == 4)
        given: Sequence[ImageLike] = images if several else [images]  # type: ignore[assignment, list-item]
        read = [self._read_one(image, number, len(given)) for number, image in enumerate(given, 1)]
        if len(shapes := {pixels.shape for pixels in read}) != 1:
            received = ", ".join(f"{height}x{width}" for height, width, _ in sorted(shapes)) or "no image"
            raise ValueError(f"Expected images of one size, since the network takes any. Received: {received}")
        batch = np.stack(read)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self.channels_first else batch

    def _read_one(self, image: ImageLike, number: int, count: int) -> np.ndarray:
        try:
            return self.reader(image)
        except BadImage as error:
            received = str(error)
            if isinstance(image, (str, os.PathLike)):
                received = f"{os.fspath(image)!r} ({error})"
            elif count > 1:
                received = f"image {number} of {count} ({error})"
            raise ValueError(f"Expected an image that can be read. Received: {received}") from None
