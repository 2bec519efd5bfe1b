"""Measures feature reuse in densely connected networks: how much each layer takes from each layer before it.

    norm(s, l) = mean |W_l[..., channels of s, :]|

W_l is the first kernel of the layer l of a dense block, which sees the block's input (s = 0) and the features of the
layers before it. The last target is what follows the block: a transition or the logits.
"""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_skip import DenseBlock, TransitionBlock


class Reuse(NamedTuple):
    """The mean absolute weight with which a layer, the target, takes the channels of an earlier one, the source.

    Sources and targets are counted from 1 within the block. Source 0 is the block's input, and target L + 1 is
    what follows a block of L layers.
    """

    network: str
    block: str
    source: int
    target: int
    layer: str
    norm: float


def feature_reuse(model: keras.Model) -> list[Reuse]:
    """Measures the weight norms between the layers of each dense block of a network.

    Args:
        model: A network with dense blocks.

    Returns:
        A `Reuse` for each pair of a source and a later target, block by block, target by target.

    Raises:
        ValueError: If the network has no dense block.

    Example:

    >>> import zoo
    >>> found = zoo.feature_reuse(zoo.build("densenet_40_12", input_shape=(8, 8, 3), depth=10))
    >>> [(pair.source, pair.target, pair.layer) for pair in found[:4]]
    [(0, 1, 'layer1'), (0, 2, 'layer2'), (1, 2, 'layer2'), (0, 3, 'transition1')]

    Reference:
        Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
    """
    found = []
    for index, block in enumerate(model.layers):
        if not isinstance(block, DenseBlock):
            continue
        kernels = {f"layer{n}": getattr(block, f"layer{n}").conv1.kernel for n in range(1, block.num_layers + 1)}
        kernels |= _next_kernel(model.layers[index + 1 :])
        for target, (name, variable) in enumerate(kernels.items(), 1):
            kernel = np.abs(ops.convert_to_numpy(variable))
            seen = min(target, block.num_layers + 1) - 1
            first = kernel.shape[-2] - seen * block.growth_rate
            edges = [0, *range(first, kernel.shape[-2] + 1, block.growth_rate)]
            for source in range(seen + 1):
                norm = float(kernel[..., edges[source] : edges[source + 1], :].mean())
                found.append(Reuse(model.name, block.name, source, target, name, norm))
    if not found:
        raise ValueError(f"Expected a network with dense blocks. Received: {model.name}, which has none")
    return found


def _next_kernel(layers: list[keras.layers.Layer]) -> dict[str, keras.Variable]:
    """Finds the kernel that sees the whole block, by the name of its layer."""
    for layer in layers:
        if isinstance(layer, TransitionBlock):
            return {layer.name: layer.conv1.kernel}
        if isinstance(layer, keras.layers.Dense):
            return {layer.name: layer.kernel}
    return {}
