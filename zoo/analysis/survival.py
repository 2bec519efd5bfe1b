"""Lists the survival probabilities of a network: how likely each branch runs in a training step."""

from collections.abc import Iterator
from typing import NamedTuple

import keras


class Survival(NamedTuple):
    """The survival probability of one block, counted from 1 at the image."""

    network: str
    place: int
    layer: str
    probability: float


def survival_profile(model: keras.Model) -> list[Survival]:
    """Lists the survival probability of each block that has one, from the first to the last.

    With the linear rule it is 1 - l / L (1 - p_L) for the block l of L. The sum of the probabilities is the number of
    blocks that a training step runs on average.

    Args:
        model: A network of blocks, or one with a `DropPath` or `StochasticDepth` at each branch, as
            `keras_skip.add_stochastic_depth` makes it. A dense block has a row for each of its layers, which drop one
            by one.

    Returns:
        A `Survival` for each block.

    Raises:
        ValueError: If no block has a survival probability.

    Example:

    >>> import zoo
    >>> model = zoo.build("stochastic_resnet110", input_shape=(8, 8, 3), depth=14)
    >>> [round(block.probability, 3) for block in zoo.survival_profile(model)]
    [0.917, 0.833, 0.75, 0.667, 0.583, 0.5]

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
    """
    found = [
        Survival(model.name, index, name, probability) for index, (name, probability) in enumerate(_blocks(model), 1)
    ]
    if not found:
        raise ValueError(f"Expected a network of blocks with a survival probability. Received: {model.name}")
    return found


def _blocks(model: keras.Model, prefix: str = "") -> Iterator[tuple[str, float]]:
    for layer in model.layers:
        name = prefix + layer.name
        if isinstance(layer, keras.Model):
            yield from _blocks(layer, f"{name}/")
        for index in range(1, getattr(layer, "num_layers", 0) + 1):
            yield f"{name}/layer{index}", getattr(layer, f"layer{index}").survival_prob
        if hasattr(layer, "survival_prob") and not hasattr(layer, "num_layers"):
            yield name, layer.survival_prob
