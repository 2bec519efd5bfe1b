"""Weights that have a name, such as "imagenet" or "cifar10": where they are, and their hash."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .imagenet import CAFFE, SYMMETRIC, TORCH, Record, crop_reader

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """Weights with a name.

    Attributes:
        name: As `load` takes it.
        origin: The URL of a file, or its path relative to this folder.
        file_hash: Its MD5 or SHA-256.
        preprocessing: For `zoo.Preprocessing.from_dict`.
        arguments: Of `build`, where the weights need other than the registry's.
        image: For `export.ImageReader.from_dict`; None if it is unknown.
    """

    name: str
    origin: str
    file_hash: str
    preprocessing: Record
    arguments: Mapping[str, Any] = field(default_factory=dict)
    image: Record | None = None

    def file(self) -> Path:
        """The file, downloaded to Keras's cache if it is not there yet.

        Raises:
            OSError: If the download fails, or the file has another hash.
        """
        if "://" not in self.origin:
            return self._beside()
        import keras

        try:
            return Path(keras.utils.get_file(origin=self.origin, cache_subdir="models", file_hash=self.file_hash))
        except Exception as error:  # what a download raises is Exception itself
            raise OSError(f"{self.origin} cannot be downloaded: {error}") from error

    def _beside(self) -> Path:
        path = HERE / self.origin
        with path.open("rb") as file:
            received = hashlib.file_digest(file, "sha256").hexdigest()
        if received != self.file_hash:
            raise OSError(f"Expected {str(path)!r} with the SHA-256 {self.file_hash}. Received: {received}")
        return path


_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"


def keras_weights(folder: str, file: str, file_hash: str) -> Published:
    """The weights for ImageNet that keras.applications publishes; the file is shared with it in Keras's cache.

    Args:
        folder: Where its server has them, "resnet" or "densenet".
        file: How the file's name begins, such as "resnet50v2".
        file_hash: Its MD5.
    """
    origin = f"{_APPLICATIONS}/{folder}/{file}_weights_tf_dim_ordering_tf_kernels.h5"
    preprocessing = TORCH if folder == "densenet" else SYMMETRIC if file.endswith("v2") else CAFFE
    return Published("imagenet", origin, file_hash, preprocessing, image=crop_reader())
