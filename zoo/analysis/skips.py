"""Lists the learned weights with which skips connect the layers of a network.

    reuse        mean |W|               how much a layer of a dense block takes from each layer before it
    pre, post    H_pre, H_post          what a layer between streams reads from each of them, and writes to each
    residual     H_res                  how the streams mix beside that layer
    average      alpha_lj               how much of each earlier output a block reads
    attention    n softmax_i(w . v_i)   the same, where each position decides

The first is `feature_reuse`. The others are the factors themselves, averaged over images and positions if they depend
on them.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_skip import (
    DenseBlock,
    DepthAttention,
    DepthAverage,
    HyperConnection,
    list_depth_weights,
    prune_skips,
    recorded_skips,
)

from ..data import Batches, Preprocessing, Source
from ..data.rows import first_rows
from ..training.evaluation import EVALUATION_BATCH, measure, resolve_model_and_data
from ..training.runs import Run
from ..weights.loading import load
from .reuse import Reuse, feature_reuse

LEARNED = (HyperConnection, DepthAverage, DepthAttention)


class Skip(NamedTuple):
    """The weight with which the target of a skip takes its source.

    For streams, `target` and `source` count the streams from 1, and 0 is the layer between them. For averages and
    attention over depth they count the blocks of a stack from 1, where source 0 is its input and the last target what
    follows it. In dense blocks they count the layers in the same way.
    """

    network: str
    kind: str
    layer: str
    target: int
    source: int
    weight: float


def learned_skips(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    weights: str | None = None,
    examples: int | None = None,
) -> list[Skip]:
    """Measures the weights of learned skips: dense blocks, hyper-connections, averages and attention over depth.

    Args:
        run_or_model, data, weights: As in `evaluate`. If a network has no learned skips but dense blocks, it needs no
            data, and may be anything that `load` takes.
        examples: How many test images to use, from the first on. Default: all.

    Returns:
        A `Skip` for each weight, layer by layer.

    Raises:
        ValueError: If the network has no such layers, or as in `evaluate`.

    Example:

    >>> import zoo
    >>> model = zoo.build("stack_mlp", depth=2, skip="depth_average")
    >>> [(skip.layer, skip.source, skip.weight) for skip in zoo.learned_skips(model, "digits", examples=8)[:2]]
    [('block_1_average', 0, 0.0), ('block_1_average', 1, 1.0)]

    References:
        Huang et al., Densely Connected Convolutional Networks, 2017, https://arxiv.org/abs/1608.06993
        Xie et al., mHC: Manifold-Constrained Hyper-Connections, 2025, https://arxiv.org/abs/2512.24880
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
        Kimi Team, Attention Residuals, 2026, https://arxiv.org/abs/2603.15031
    """
    model = _load(run_or_model, weights)
    dense = any(isinstance(layer, DenseBlock) for layer in model.layers)
    learned = any(isinstance(layer, LEARNED) for layer in model._flatten_layers())
    if not dense and not learned:
        raise ValueError(
            "Expected a network with dense blocks, hyper-connections, or averages or attention over depth. "
            f"Received: {model.name}, which has none"
        )
    found = list(as_skips(feature_reuse(model))) if dense else []
    if learned:
        model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights, "classification")
        found += _measure(model, source, preprocessing, examples)
    return found


def _load(run_or_model: "Run | str | Path | keras.Model", weights: str | None) -> keras.Model:
    if isinstance(run_or_model, keras.Model):
        return run_or_model
    return load(run_or_model.path if isinstance(run_or_model, Run) else run_or_model, weights)


def as_skips(pairs: Iterable[Reuse]) -> Iterator[Skip]:
    """Yields a `Skip` for each pair of layers in a dense block."""
    for pair in pairs:
        yield Skip(pair.network, "reuse", f"{pair.block}/{pair.layer}", pair.target, pair.source, pair.norm)


def _measure(model: keras.Model, source: Source, preprocessing: Preprocessing, examples: int | None) -> Iterator[Skip]:
    """Yields the weights of each call of a layer, averaged over the images."""
    images, labels = (first_rows(found, examples) for found in (source.test_inputs, source.test_targets))
    batches = Batches(images, labels, source.classes, preprocessing, EVALUATION_BATCH)
    sums: dict[tuple[int, str], np.ndarray] = {}
    for index in range(batches.batches_per_epoch):
        inputs, _ = batches.batch(0, index)
        with recorded_skips() as calls:
            model(inputs, training=False)
        for place, (layer, weights) in enumerate(calls):
            for name, value in weights.items():
                sums[place, name] = sums.get((place, name), 0.0) + len(inputs) * _mean(layer, name, value)
    for (place, name), total in sums.items():
        layer = calls[place][0]
        kind, ends = _kind_and_ends(layer, name)
        for (target, source_of_skip), weight in zip(ends, (total / len(images)).flat, strict=True):
            yield Skip(model.name, kind, layer.name, target, source_of_skip, float(weight))


def _mean(layer: keras.layers.Layer, name: str, value: Any) -> np.ndarray:
    """Averages over images and positions, which come before the axes of the weights."""
    weights = np.asarray(ops.convert_to_numpy(value), "float64")
    if getattr(layer, "data_format", None) == "channels_first" and isinstance(layer, DepthAttention):
        weights = np.moveaxis(weights, 1, -1)
    mean = weights.mean(axis=tuple(range(weights.ndim - (2 if name == "residual" else 1))))
    # A weight of attention belongs to all outputs that are summed up before it.
    return np.repeat(mean, list(map(len, layer.sources))) if isinstance(layer, DepthAttention) else mean


def _kind_and_ends(layer: keras.layers.Layer, name: str) -> tuple[str, list[tuple[int, int]]]:
    """The kind of a layer's weights, and target and source of each."""
    if isinstance(layer, HyperConnection):
        numbers = range(1, layer.streams + 1)
        return name, list(product((0,) if name == "pre" else numbers, (0,) if name == "post" else numbers))
    sources = np.hstack(layer.sources).tolist()
    return "average" if isinstance(layer, DepthAverage) else "attention", [(sources[-1] + 1, j) for j in sources]


class Pruned(NamedTuple):
    """The figures of a network without the weights below a threshold; threshold 0 is the whole network."""

    network: str
    threshold: float
    weights: int
    accuracy: float
    loss: float


def pruning_profile(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    thresholds: Sequence[float] = (0.001, 0.01, 0.1),
    weights: str | None = None,
    examples: int | None = None,
) -> list[Pruned]:
    """Measures accuracy and loss on test images when the small weights of depth averages are removed.

    Args:
        run_or_model, data, weights: As in `evaluate`. The network does not change.
        thresholds: Weights whose size is below are removed, as `keras_skip.prune_skips` does.
        examples: How many test images to use, from the first on. Default: all.

    Returns:
        A `Pruned` of the whole network, then one for each threshold.

    Raises:
        ValueError: If the network has no `keras_skip.DepthAverage`, if a threshold removes all weights of one, or as in
            `evaluate`.

    Example:

    >>> import zoo
    >>> model = zoo.build("stack_mlp", depth=3, skip="depth_average")
    >>> [row.weights for row in zoo.pruning_profile(model, "digits", thresholds=[0.5], examples=8)]
    [9, 3]

    Reference:
        Pagliardini et al., DenseFormer, 2024, https://arxiv.org/abs/2402.02622
    """
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights, "classification")
    found = []
    for threshold in (0.0, *thresholds):
        pruned = prune_skips(model, threshold)
        figures = measure(pruned, source, preprocessing, limit=examples)
        found.append(Pruned(model.name, float(threshold), len(list_depth_weights(pruned)), **figures))
    return found
