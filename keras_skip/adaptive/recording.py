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
        A context whose value is a list, to which each call of a layer adds (layer, weights), with the weights by name.

    Raises:
        ValueError: At the end, if no weights were recorded.
    """
    return SKIPS.open()
