"""Removes small weights of averages over depth from a functional model, together with their skips.

y_l = sum_j alpha_lj x_j,   j with |alpha_lj| >= threshold
"""

from collections.abc import Iterator

import keras
from keras import ops

from .._base.arguments import number
from .._base.shapes import Tensor
from ..surgery.graph import Call, Copies, Values, as_functional, copy_model, is_functional, list_calls
from ..surgery.skips import read_graph
from .depth import DepthAverage


def list_depth_weights(model: keras.Model) -> list[tuple[str, int, float]]:
    """Lists the weights of all `DepthAverage` layers of a model: which earlier states each of them reads, and how much.

        y_l = sum_j alpha_lj x_j

    Args:
        model: A functional or Sequential model. Functional models inside it are searched too.

    Returns:
        A list with (name of the layer, j, alpha_lj) for each weight, from the input of the model to its output.

    Raises:
        ValueError: If the model is subclassed, since it then has no graph to search, or if it has no `DepthAverage`
            with weights.

    Example:

    >>> import keras
    >>> from keras_skip import list_depth_weights, stack
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, stack([keras.layers.Dense(8)], "depth_average", name="body")(x))
    >>> list_depth_weights(model)
    [('body_1_average', 0, 0.0), ('body_1_average', 1, 1.0)]

    Reference:
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
    """
    return [
        (layer.name, source, weight)
        for layer in _find_averages(model)
        for source, weight in zip(layer.sources, _weights(layer), strict=True)
    ]


def prune_skips(model: keras.Model, threshold: float) -> keras.Model:
    """Removes the small weights of the `DepthAverage` layers of a model, together with their skips.

        y_l = sum_j alpha_lj x_j,   j with |alpha_lj| >= threshold

    The new model computes what the given one would with these weights at 0. Its graph no longer contains the skips,
    nor the blocks whose outputs nothing reads any more. `list_depth_weights` of both models shows what was removed.

    `DepthAttention` layers stay as they are: their weights depend on the input, so no single number can be compared
    with the threshold.

    Args:
        model: As in `list_depth_weights`. It does not change.
        threshold: A number >= 0 that at least one weight of each layer reaches.

    Returns:
        A functional model, not compiled, with the name of the given one and copies of its layers and weights.

    Raises:
        ValueError: For a negative threshold, or one that no weight of some layer reaches; if the model is subclassed,
            or has no `DepthAverage` with weights.

    Example:

    >>> import keras
    >>> from keras_skip import list_depth_weights, prune_skips, stack
    >>> x = keras.Input((8,))
    >>> model = keras.Model(x, stack([keras.layers.Dense(8)], "depth_average", name="body")(x))
    >>> list_depth_weights(prune_skips(model, threshold=0.1))
    [('body_1_average', 1, 1.0)]

    Reference:
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
    """
    threshold = number(threshold, "threshold", 0.0, ends="[)")
    kept = {}
    for layer in _find_averages(model):
        weights = _weights(layer)
        kept[layer] = [i for i, weight in enumerate(weights) if abs(weight) >= threshold]
        if not kept[layer]:
            raise ValueError(
                "Expected a threshold that at least one weight of each layer reaches. "
                f"Received: threshold={threshold:g}, and {layer.name} with weights {weights}"
            )
    pruner = _Pruner(kept)
    pruned = pruner.build(model)
    pruner.copies.take_weights()
    return pruned


def _find_averages(model: keras.Model) -> list[DepthAverage]:
    """The layers with weights, each once, in the order in which they run."""
    read_graph(model)
    found = dict.fromkeys(layer for layer in _layers(model) if isinstance(layer, DepthAverage) and layer.weights)
    if not found:
        raise ValueError(
            f"Expected a model with a DepthAverage that has weights. Received: {model.name}, whose graph has none"
        )
    return list(found)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for call in list_calls(as_functional(model)):
        if is_functional(call.operation):
            yield from _layers(call.operation)
        elif call.layer is not None:
            yield call.layer


def _weights(layer: DepthAverage) -> list[float]:
    return ops.convert_to_numpy(layer.alpha).tolist()


class _Pruner:
    """Rebuilds a model. Each average keeps only the weights at the given places."""

    def __init__(self, kept: dict[DepthAverage, list[int]]) -> None:
        self._kept = kept
        self._pruned: dict[DepthAverage, DepthAverage] = {}
        self.copies = Copies()

    def build(self, model: keras.Model) -> keras.Model:
        return self.copies.get_model(model, lambda: self._rebuild(as_functional(model)))

    def _rebuild(self, model: keras.Model) -> keras.Model:
        def run(values: Values) -> None:
            for call in list_calls(model):
                outputs = keras.tree.flatten(self._call(call, values))
                values.update(zip(map(id, call.outputs), outputs, strict=True))

        return copy_model(model, run)

    def _call(self, call: Call, values: Values) -> Tensor:
        operation = call.operation
        if operation in self._kept and len(self._kept[operation]) < len(operation.sources):
            return self._average(operation, [values[id(x)] for x in call.data])
        args, kwargs = call.arguments.fill_in(values)
        if is_functional(operation) and not self._kept.keys().isdisjoint(_layers(operation)):
            return self.build(operation)(*args, **kwargs)
        return self.copies.get(operation)(*args, **kwargs)

    def _average(self, layer: DepthAverage, states: list[Tensor]) -> Tensor:
        """The layer's output, computed from the kept states only."""
        places = self._kept[layer]
        sources = [layer.sources[i] for i in places]
        if layer not in self._pruned:
            self._pruned[layer] = DepthAverage.from_config(layer.get_config() | {"kept": sources})
        read = places if layer.kept is not None else sources
        y = self._pruned[layer]([states[j] for j in read])
        self._pruned[layer].alpha.assign(ops.take(layer.alpha, places))
        return y
