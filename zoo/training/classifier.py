"""Says what is in photos: the class `Classifier`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .prediction import network_of_run, network_of_weights
from .runs import Run, open_complete_run

if TYPE_CHECKING:
    from export.images import ImageLike


class Classifier:
    """A trained network that says what is in images.

    It reads, resizes and crops images as in training. An artifact gives the same answers without Keras:
    `export.load(artifact).classify("cat.jpg")`.

    Args:
        run_or_network: A run or its folder, or with `weights` the name of a network.
        weights: As in `zoo.load`, such as "cifar10".

    Attributes:
        class_names: One for each class.

    Raises:
        ValueError: If there is no such run, network or weights, or if the network does not predict classes.

    Example:

    >>> import numpy as np
    >>> import zoo
    >>> photo = np.zeros((48, 64, 3), "uint8")
    >>> classifier = zoo.Classifier("resnet20", "cifar10")
    >>> [[name for name, probability in best] for best in classifier.classify(photo, top=2)]  # doctest: +SKIP
    [['bird', 'airplane']]
    """

    def __init__(self, run_or_network: Run | str | Path, weights: str | Path | None = None) -> None:
        if weights is not None:
            self._network = network_of_weights(str(run_or_network), weights)
        else:
            self._network = network_of_run(open_complete_run(run_or_network))
        if self._network.task != "classification":
            raise ValueError(f"Expected the run of a classification. Received: the run of a {self._network.task}")
        self.class_names = self._network.names

    def classify(
        self, images: "ImageLike | Sequence[ImageLike]", top: int | None = None, batch_size: int = 32
    ) -> list[Any]:
        """Names the most probable class, or classes, of each image.

        Args:
            images: A path, the contents of a file, a Pillow image or uint8 pixels (height, width, channels) of any
                size; or a list of these, or an array of several images. For a network whose inputs are not images with
                pixels from 0 to 255, an array of raw inputs.
            top: How many classes to name. None names one.
            batch_size: How many images to compute at once.

        Returns:
            A name and its probability for each image, or with `top` a list of these, the most probable first.

        Raises:
            ValueError: If an image cannot be decoded, or the inputs do not fit.
            OSError: If a file cannot be read.
        """
        if top is not None and top < 1:
            raise ValueError(f"Expected top to be at least 1. Received: top={top}")
        inputs = self._to_inputs(images)
        parts = (inputs[start : start + batch_size] for start in range(0, len(inputs), batch_size))
        named = []
        for probabilities in np.concatenate([self._network.run(part) for part in parts]):
            best = np.argsort(-probabilities, kind="stable")[: top or 1]
            named.append([(self.class_names[index], float(probabilities[index])) for index in best])
        return named if top else [first for (first,) in named]

    def _to_inputs(self, images: Any) -> np.ndarray:
        if (reader := self._network.reader) is not None:
            return reader.read(images)
        inputs, shape = np.asarray(images), self._network.shape
        fits = inputs.ndim == len(shape) + 1 and all(
            wanted in (None, size) for wanted, size in zip(shape, inputs.shape[1:], strict=True)
        )
        if not fits or not len(inputs) or inputs.dtype.kind not in "iuf":
            raise ValueError(
                f"Expected an array of inputs of shape {shape}, since the network was not trained on photos. "
                f"Received: {inputs.dtype} of shape {inputs.shape}"
            )
        return inputs
