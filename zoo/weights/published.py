"""The weights that have a name, such as "imagenet" or "cifar10": where they are, and their hash.

Those that others publish are the rows of a table, those that come with the package have cards; see `cards`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cards import SHIPPED, Card, cards

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """Weights with a name.

    Attributes:
        name: As `load` takes it.
        origin: The URL of a file, or its path relative to this folder.
        file_hash: Its MD5 or SHA-256.
        preprocessing: What the network expects of its images.
        arguments: Of `build`, where the weights need other than the registry's.
    """

    name: str
    origin: str
    file_hash: str
    preprocessing: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def file(self) -> Path:
        """The file, downloaded to Keras's cache if it is not there yet.

        Raises:
            OSError: If it cannot be had, or is not the one that was published.
        """
        if "://" not in self.origin:
            return self._beside()
        import keras

        try:
            return Path(keras.utils.get_file(origin=self.origin, cache_subdir="models", file_hash=self.file_hash))
        except Exception as error:  # what a download raises is Exception itself
            raise OSError(f"Expected to download {self.origin}. Received: {error}") from error

    def _beside(self) -> Path:
        path = HERE / self.origin
        with path.open("rb") as file:
            received = hashlib.file_digest(file, "sha256").hexdigest()
        if received != self.file_hash:
            raise OSError(f"Expected {str(path)!r} with the SHA-256 {self.file_hash}. Received: {received}")
        return path


_APPLICATIONS = "https://storage.googleapis.com/tensorflow/keras-applications"


def _imagenet(family: str, file: str, file_hash: str) -> tuple[Published, ...]:
    """The row of the weights that keras.applications publishes; it and we share the cached file."""
    origin = f"{_APPLICATIONS}/{family}/{file}_weights_tf_dim_ordering_tf_kernels.h5"
    module = "resnet_v2" if file.endswith("v2") else family
    return (Published("imagenet", origin, file_hash, f"keras.applications.{module}.preprocess_input"),)


PUBLISHED: dict[str, tuple[Published, ...]] = {
    "resnet50_keras": _imagenet("resnet", "resnet50", "2cb95161c43110f7111970584f804107"),
    "resnet101_keras": _imagenet("resnet", "resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5"),
    "resnet152_keras": _imagenet("resnet", "resnet152", "100835be76be38e30d865e96f2aaae62"),
    "resnet50_v2": _imagenet("resnet", "resnet50v2", "3ef43a0b657b3be2300d5770ece849e0"),
    "resnet101_v2": _imagenet("resnet", "resnet101v2", "6343647c601c52e1368623803854d971"),
    "resnet152_v2": _imagenet("resnet", "resnet152v2", "a49b44d1979771252814e80f8ec446f9"),
    "densenet121": _imagenet("densenet", "densenet121", "9d60b8095a5708f2dcce2bca79d332c7"),
    "densenet169": _imagenet("densenet", "densenet169", "d699b8f76981ab1b30698df4c175e90b"),
    "densenet201": _imagenet("densenet", "densenet201", "1ceb130c1ea1b78c3bf6114dbdfd8807"),
}


def available(name: str) -> tuple[str, ...]:
    """The names that `load` takes as weights of a network; empty where there are none.

    Args:
        name: The network.

    Returns:
        Such as ("imagenet",).

    Example:

    >>> from zoo.weights import available
    >>> available("resnet50_keras"), available("resnet50")
    (('imagenet',), ())
    """
    return tuple(row.name for row in _rows(name))


def find(name: str, weights: object) -> Published | None:
    """The published weights of that name, or None."""
    return next((row for row in _rows(name) if row.name == weights), None)


def holders(weights: object) -> list[str]:
    """The networks that have published weights of that name."""
    names = {*PUBLISHED, *(card.network for card in cards())}
    return sorted(name for name in names if find(name, weights) is not None)


def _rows(name: str) -> tuple[Published, ...]:
    """Those of the table, and those that come with the package."""
    ours = (_shipped(card) for card in cards() if card.network == name)
    return (*PUBLISHED.get(name, ()), *ours)


def _shipped(card: Card) -> Published:
    arguments = {"input_shape": card.input_shape, **card.arguments}
    return Published(card.weights, str(SHIPPED / card.file), card.sha256, "that of zoo.card", arguments)
