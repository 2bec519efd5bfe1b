"""The weights that layers with learned skips use for the inputs of a call, recorded while a model runs."""

from contextlib import AbstractContextManager

import keras

from .._base.recording import Recorder
from .._base.shapes import Tensor

Skips = list[tuple[keras.layers.Layer, dict[str, Tensor]]]
SKIPS = Recorder(
    "skips",
    "Expected a network with learned skips to be called inside recorded_skips, as model(x). Received: no weights; "
    "predict, evaluate, fit and compiled functions record none.",
)


def recorded_skips() -> AbstractContextManager[Skips]:
    """Collects the weights of all learned skips that run inside, wherever in a model they are. For inference.

    Call the model itself, as `model(x)`: `predict`, `evaluate`, `fit` and compiled functions record no weights, except
    on torch, where Keras compiles only on request.

    Returns:
        A context whose value is a list. Each call of a layer adds (layer, weights) to it. The weights are a dict.
        A `HyperConnection` has "pre" (B, ..., n), "post" (B, ..., n) and "residual" (B, ..., n, n), whose row i makes
        the new stream i; with `dynamic=False` they are the same at all positions, and the dimensions between B and n
        are 1. A `DepthAverage` has "weights", one for each of its `sources`. A `DepthAttention` has "weights" of the
        input's shape, with one channel for each of its `sources`; they sum to the number of sources, or to 1 with
        reduction="mean".

    Raises:
        ValueError: At the end, if no weights were recorded.

    Example:

    >>> import keras
    >>> from keras_skip import ExpandStreams, HyperConnection, recorded_skips
    >>> model = keras.Sequential([ExpandStreams(2), HyperConnection(keras.layers.Dense(8), 2, index=1)])
    >>> with recorded_skips() as skips:
    ...     y = model(keras.ops.ones((1, 8)))
    >>> [(layer, weights)] = skips
    >>> print(keras.ops.convert_to_numpy(weights["pre"]).round(2))  # before training: 0.7 of stream `index`
    [[0.3 0.7]]

    References:
        Zhu et al., Hyper-Connections, 2024, https://arxiv.org/abs/2409.19606
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
        Kimi Team, Attention Residuals, 2026, https://arxiv.org/abs/2603.15031
    """
    return SKIPS.open()
