"""Measures what a network loses when one layer or sum only carries its input.

    highway     T(x) = 0 and C(x) = 1        y = x
    residual    branch(x) = 0                y = shortcut(x), then the activation if one follows the sum
    sum         gamma branch(x), gamma = 0   y = skip(x)

The weights close a layer: the kernels of the gates become 0 and their biases so large that the sigmoids are 0 and 1;
the last convolution of a branch becomes 0, with its normalisation, and in `Residual` the learned scale of the update,
its normalisation or the last layer inside. Afterwards the weights are restored. A network without such layers is
copied, and the copy has a factor gamma after each branch, which is 1 and becomes 0.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import keras
from keras import ops

from keras_skip import (
    BottleneckBlock,
    HighwayBlock,
    LayerScale,
    PreActivationBlock,
    PreActivationBottleneckBlock,
    Residual,
    ResidualBlock,
    WideBlock,
    add_layer_scale,
    list_skips,
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

    A functional model without such layers, such as one of keras.applications, is measured by its sums: each of those
    that `keras_skip.list_skips` finds loses its branch.

    Args:
        run_or_model, data, weights: As in `evaluate`. The network does not change.
        examples: How many test images to use, from the first on. Default: all.

    Returns:
        A `Lesion` of the whole network, then one for each layer, from the first to the last.

    Raises:
        ValueError: If the network has neither highway layers nor residual blocks nor sums with a skip, or as in
            `evaluate`.

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
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights, "classification")
    blocks = [layer for layer in model.layers if isinstance(layer, (HighwayBlock, Residual, *RESIDUAL))]
    measured, names = model, [block.name for block in blocks]
    if not blocks:
        measured, blocks, names = scale_branches(model)
    measure = make_evaluator(measured, source, preprocessing, limit=examples)
    found = [Lesion(model.name, 0, "", **measure())]
    for index, (block, name) in enumerate(zip(blocks, names, strict=True), 1):
        with force_carry(block):
            found.append(Lesion(model.name, index, name, **measure()))
    return found


def scale_branches(model: keras.Model) -> tuple[keras.Model, list[keras.layers.Layer], list[str]]:
    """Copies a functional model with a factor of 1 at each branch, and returns the copy, the factors and their sums."""
    if not list_skips(model):
        raise ValueError(
            "Expected a network of highway layers or residual blocks, or one with sums of a skip and a branch. "
            f"Received: {model.name}"
        )
    scaled = add_layer_scale(model, axis=None)
    paths, factors = zip(*_list_added(scaled, model), strict=True)
    return scaled, list(factors), [re.sub(r"_scale(_\d+)?$", "", path) for path in paths]


def _list_added(scaled: keras.Model, model: keras.Model, prefix: str = "") -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yields the factors that a copy has and its original lacks, each with its path."""
    given = {layer.name: layer for layer in model.layers}
    for layer in scaled.layers:
        if isinstance(layer, keras.Model):
            yield from _list_added(layer, given[layer.name], f"{prefix}{layer.name}/")
        elif isinstance(layer, LayerScale) and layer.name not in given:
            yield prefix + layer.name, layer


@contextmanager
def force_carry(block: keras.layers.Layer) -> Iterator[None]:
    """Makes a highway layer or a residual block only carry its input inside the block, or sets a factor to 0."""
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
    if isinstance(block, LayerScale):
        return [(block.gamma, 0.0)]
    if isinstance(block, HighwayBlock):
        gates = [(block.transform_gate, -SHUT), (block.carry_gate, SHUT)]
        return [pair for gate, bias in gates if gate is not None for pair in ((gate.kernel, 0.0), (gate.bias, bias))]
    if isinstance(block, Residual):
        parts = (getattr(block, name, None) for name in ("layer_scale", "update_norm"))
        ends = [part for part in (*parts, *reversed(block.layers)) if part is not None and part.weights]
        return [(variable, 0.0) for variable in ends[0].weights if "float" in variable.dtype] if ends else []
    last = 3 if hasattr(block, "conv3") else 2
    layers = (getattr(block, f"{kind}{last}") for kind in ("conv", "norm"))
    return [(variable, 0.0) for layer in layers if layer is not None for variable in layer.weights]
