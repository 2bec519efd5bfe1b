"""Takes the softmax off the end of a model, so that it gives logits as the networks of the zoo do.

The loss, the metrics and an export expect logits; an export puts the softmax back. The softmax of a last layer is left
out. One inside a layer of the user's own stays, and the logarithm is taken of it:

    softmax(log p) = p          for probabilities p
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..data import Source
from .evaluation import evaluation_batches

# Sums of half-precision probabilities are this close to 1.
_CLOSE = 1e-2


def remove_softmax(model: keras.Model, source: Source) -> tuple[keras.Model, str]:
    """Returns a model of logits with the same weights, and what the given one ends in: "softmax" or "logits".

    Args:
        model: A model with one input and one output.
        source: Examples, on which the outputs are checked if the last layer does not say whether they are logits.
    """
    last, before = _last(model)
    if isinstance(last, keras.layers.Softmax) or _is_softmax(last, keras.layers.Activation):
        return keras.Model(model.inputs[0], before, name=model.name), "softmax"
    if _is_softmax(last, keras.layers.Layer):
        config = last.get_config()
        config["activation"] = "linear"
        linear = type(last).from_config(config)
        logits = linear(before)
        linear.set_weights(last.get_weights())
        linear.trainable = last.trainable
        return keras.Model(model.inputs[0], logits, name=model.name), "softmax"
    if _gives_probabilities(model, source):
        smallest = float(np.finfo("float32").tiny)
        logits = ops.log(ops.maximum(ops.cast(model.outputs[0], "float32"), smallest))
        return keras.Model(model.inputs[0], logits, name=model.name), "softmax"
    return model, "logits"


def _last(model: keras.Model) -> tuple[Any, Any]:
    """The operation that makes the output of a model, and what it gets."""
    operation, node, _ = model.outputs[0]._keras_history
    return operation, operation._inbound_nodes[node].input_tensors[0]


def _is_softmax(layer: Any, kind: type) -> bool:
    return isinstance(layer, kind) and getattr(layer, "activation", None) is keras.activations.softmax


def _gives_probabilities(model: keras.Model, source: Source) -> bool:
    """Whether the outputs for some examples are at least 0 and sum to 1."""
    inputs, *_ = evaluation_batches(source, source.preprocessing, "train")[0]
    given = ops.convert_to_numpy(ops.cast(model(inputs, training=False), "float32"))
    return bool((given >= 0).all() and np.allclose(given.sum(axis=-1), 1, atol=_CLOSE))
