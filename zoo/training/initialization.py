"""Initial weights for training in few epochs: convolutions that start as the identity, a first one that whitens.

The kernel of a "dirac" convolution of c channels and f >= c filters has the first c filters

    kernel[y, x, i, i] = 1 at the pixel that "same" padding leaves in place, 0 elsewhere        i < c

With the eigenvalues l and eigenvectors v of the second moments of the k x k patches of the images, the 2kkc filters of
a "whitening" convolution are v / sqrt(l + 5e-4), the largest l first, and then their negatives.

Zagoruyko & Komodakis, DiracNets, 2017, https://arxiv.org/abs/1706.00388
Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, https://arxiv.org/abs/2404.00498
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from ..data import Source
from ..data.rows import first_rows

# Images whose patches are whitened, and what is added to the eigenvalues.
IMAGES = 5000
EPSILON = 5e-4
_PIXELS = 2**20  # read at once
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def initialize(model: keras.Model, names: Sequence[str], source: Source) -> None:
    """Replaces initial weights of a network, as `zoo.training.recipe.Recipe.initialization` says.

    Raises:
        ValueError: If the network has no fitting convolution.
    """
    for name, method in METHODS.items():
        if name in names:
            method(model, source)


def _dirac(model: keras.Model, source: Source) -> None:
    fitting = [layer for layer in _convolutions(model) if max(layer.kernel_size) > 1 and layer.groups == 1]
    fitting = [layer for layer in fitting if layer.kernel.shape[-1] >= layer.kernel.shape[-2]]
    if not fitting:
        raise ValueError(
            "Expected a network with convolutions of at least as many filters as channels, for initialization='dirac'. "
            f"Received: {model.name}"
        )
    for layer in fitting:
        kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
        channels = kernel.shape[-2]
        kernel[..., :channels] = 0
        kernel[tuple((side - 1) // 2 for side in layer.kernel_size)][:, :channels] = np.eye(channels)
        layer.kernel.assign(kernel)


def _whitening(model: keras.Model, source: Source) -> None:
    first, received = next(_convolutions(model), None), "which has no convolution"
    if first is not None:
        *sides, channels, filters = first.kernel.shape
        received = f"whose {first.name} has a kernel of shape {tuple(first.kernel.shape)}"
    if (
        first is None
        or len(sides) != 2
        or channels != source.input_shape[-1]
        or filters != 2 * sides[0] * sides[1] * channels
    ):
        raise ValueError(
            "Expected a first convolution of the images, with 2 * height * width * channels filters for its kernel of "
            f"height x width, for initialization='whitening'. Received: {model.name}, {received}"
        )
    values, vectors = np.linalg.eigh(second_moments(source, sides))
    # The sign of an eigenvector is arbitrary.
    vectors *= np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))])
    scaled = (vectors / np.sqrt(np.maximum(values, 0) + EPSILON))[:, ::-1]
    first.kernel.assign(np.concatenate([scaled, -scaled], axis=1).reshape(*sides, channels, filters))
    first.kernel.trainable = False


def second_moments(source: Source, sides: Sequence[int]) -> np.ndarray:
    """The mean of p p^T over the patches p of the first training images, preprocessed."""
    images = first_rows(source.train_inputs, IMAGES)
    step = max(1, _PIXELS // int(np.prod(images.shape[1:])))
    size = int(np.prod(sides)) * images.shape[-1]
    total, count = np.zeros((size, size)), 0
    for start in range(0, len(images), step):
        seen = source.preprocessing(images[start : start + step])
        windows = np.lib.stride_tricks.sliding_window_view(seen, tuple(sides), axis=(1, 2))
        patches = np.moveaxis(windows, 3, -1).reshape(-1, size).astype("float64")
        total, count = total + patches.T @ patches, count + len(patches)
    return total / count


def _convolutions(model: keras.Model) -> Iterator[Any]:
    """The convolutions of a network, the first one first."""
    layers = (layer for outer in model.layers for layer in outer._flatten_layers())
    return (layer for layer in layers if isinstance(layer, _CONVOLUTIONS))


# In this order, since "dirac" changes the first convolution too.
METHODS: dict[str, Callable[[keras.Model, Source], None]] = {"dirac": _dirac, "whitening": _whitening}
