"""Measures what a network loses when one layer only carries its input.

    highway     T(x) = 0 and C(x) = 1        y = x
    residual    branch(x) = 0                y = shortcut(x), then the activation if one follows the sum

The weights close a layer: the kernels of the gates become 0 and their biases so large that the sigmoids are 0 and 1;
the last convolution of a branch becomes 0, with its normalisation. Afterwards the weights are restored.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import keras
from keras import ops

from keras_skip import (
    BottleneckBlock,
    HighwayBlock,
    PreActivationBlock,
    PreActivationBottleneckBlock,
    ResidualBlock,
    WideBlock,
)

from ..data import Source
from ..training.evaluation import make_evaluator, resolve_model_and_data
from ..training.runs import Run

RESIDUAL = (BottleneckBlock, PreActivationBlock, PreActivationBottleneckBlock, ResidualBlock, WideBlock)
# Its sigmoid is 1 in every precision, and that of its negative is 0.
SHUT = 1e4


class Lesion(NamedTuple):
    """The figures of a network without one layer; place 0 is the whole network and names no layer."""

    network: str
    place: int
    layer: str
    accuracy: float
    loss: float


def lesion(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    weights: str | None = None,
    examples: int | None = None,
) -> list[Lesion]:
    """Measures accuracy and loss on test images when one highway layer or residual block only carries its input.

    Args:
        run_or_model, data, weights: As in `evaluate`. The network does not change.
        examples: How many test images to use, from the first on. Default: all.

    Returns:
        A `Lesion` of the whole network, then one for each layer, from the first to the last.

    Raises:
        ValueError: If the network has neither highway layers nor residual blocks, or as in `evaluate`.

    Example:

    >>> import zoo
    >>> whole, *lesions = zoo.lesion(zoo.build("residual_mlp"), data="digits", examples=64)
    >>> len(lesions)
    5

    References:
        Srivastava et al., Training Very Deep Networks, 2015, https://arxiv.org/abs/1507.06228
        Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, 2016,
        https://arxiv.org/abs/1605.06431
    """
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights)
    blocks = [layer for layer in model.layers if isinstance(layer, (HighwayBlock, *RESIDUAL))]
    if not blocks:
        raise ValueError(f"Expected a network of highway layers or residual blocks. Received: {model.name}")
    measure = make_evaluator(model, source, preprocessing, limit=examples)
    found = [Lesion(model.name, 0, "", **measure())]
    for index, block in enumerate(blocks, 1):
        with force_carry(block):
            found.append(Lesion(model.name, index, block.name, **measure()))
    return found


@contextmanager
def force_carry(block: keras.layers.Layer) -> Iterator[None]:
    """Makes a highway layer or a residual block only carry its input inside the block."""
    closed = _closing_values(block)
    before = [ops.convert_to_numpy(variable) for variable, _ in closed]
    try:
        for variable, value in closed:
            variable.assign(ops.full(variable.shape, value, variable.dtype))
        yield
    finally:
        for (variable, _), value in zip(closed, before, strict=True):
            variable.assign(value)


def _closing_values(block: keras.layers.Layer) -> list[tuple[keras.Variable, float]]:
    """Lists the variables that close a block, each with its value."""
    if isinstance(block, HighwayBlock):
        gates = [(block.transform_gate, -SHUT), (block.carry_gate, SHUT)]
        return [pair for gate, bias in gates if gate is not None for pair in ((gate.kernel, 0.0), (gate.bias, bias))]
    last = 3 if hasattr(block, "conv3") else 2
    layers = (getattr(block, f"{kind}{last}") for kind in ("conv", "norm"))
    return [(variable, 0.0) for layer in layers if layer is not None for variable in layer.weights]
