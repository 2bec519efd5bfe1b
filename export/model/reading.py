"""Reads images of any size as the raw input of an artifact that records how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..images import ImageLike, ImageReader


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
        """Reads images as `ImageReader.read` does, as a batch of the artifact's layout."""
        batch = self.reader.read(images)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self.channels_first else batch
