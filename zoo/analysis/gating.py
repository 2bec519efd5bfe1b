"""Measures the gates of a highway network on images.

    y = T(x) * H(x) + C(x) * x        T lets the result of the layer in, C carries its input

Both are averaged over the positions of a map, so a layer has one value for each of its units (the channels).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_skip import HighwayBlock

from ..data import Batches, Preprocessing, Source
from ..data.rows import first_rows
from ..training.evaluation import EVALUATION_BATCH, resolve_model_and_data
from ..training.learner import jit_compile
from ..training.runs import Run


@dataclass(frozen=True)
class LayerGates:
    """The gates of one layer; each array has a value for each unit in its last dimension.

    Attributes:
        layer: Its name.
        transform_bias, carry_bias: b_T, and b_C, which is None unless the carry gate is learned.
        transform, carry: T and C, on average over the images.
        class_transform, class_carry: Their averages for each class, (classes, units).
        example_transform, example_carry, example_output: T, C and y of one image.
    """

    layer: str
    transform_bias: np.ndarray
    carry_bias: np.ndarray | None
    transform: np.ndarray
    carry: np.ndarray
    class_transform: np.ndarray
    class_carry: np.ndarray
    example_transform: np.ndarray
    example_carry: np.ndarray
    example_output: np.ndarray


@dataclass(frozen=True)
class Gates:
    """The gates of a network, from its first highway layer to its last.

    Attributes:
        network: Its name.
        class_names: Of the data.
        layers: A `LayerGates` each.
        example: The class of the one image.
    """

    network: str
    class_names: tuple[str, ...]
    layers: tuple[LayerGates, ...]
    example: str


class GateRow(NamedTuple):
    """A row of the table. `what` is "bias", "mean", "example", or "class" and the class's name."""

    place: int
    layer: str
    unit: int
    what: str
    transform: float
    carry: float | None
    output: float | None = None


def gates(
    run_or_model: "Run | str | Path | keras.Model",
    data: str | Source | None = None,
    *,
    weights: str | None = None,
    examples: int | None = None,
    example: int = 0,
) -> Gates:
    """Measures the gates of a highway network on test images.

    Args:
        run_or_model, data, weights: As in `evaluate`.
        examples: How many test images to use, from the first on. Default: all.
        example: The test image whose gates are kept.

    Returns:
        A `Gates`. A class without images has NaN.

    Raises:
        ValueError: If the network has no highway layer, if there is no such image, or as in `evaluate`.

    Example:

    >>> import zoo
    >>> found = zoo.gates(zoo.build("highway_mlp"), data="digits")
    >>> len(found.layers), bool((found.layers[0].carry > found.layers[0].transform).all())
    (10, True)

    Reference:
        Srivastava et al., Highway Networks, 2015, https://arxiv.org/abs/1505.00387
    """
    model, source, preprocessing = resolve_model_and_data(run_or_model, data, weights, "classification")
    return measure_gates(model, source, preprocessing, examples, example)


def highway_layers(model: keras.Model) -> list[HighwayBlock]:
    """Lists the highway layers of a model."""
    return [layer for layer in model.layers if isinstance(layer, HighwayBlock)]


def measure_gates(
    model: keras.Model, source: Source, preprocessing: Preprocessing, examples: int | None = None, example: int = 0
) -> Gates:
    """Measures `gates` of a network that takes the images of a source."""
    blocks = highway_layers(model)
    if not blocks:
        raise ValueError(f"Expected a network with highway layers. Received: {model.name}, which has none")
    images, labels = (first_rows(found, examples) for found in (source.test_inputs, source.test_targets))
    if not 0 <= example < len(images):
        raise ValueError(f"Expected example to be one of the {len(images)} images. Received: example={example}")
    batches = Batches(images, labels, source.classes, preprocessing, EVALUATION_BATCH)
    watched = _gate_model(model, blocks)
    counts = np.zeros(source.classes)
    sums: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    for index in range(batches.batches_per_epoch):
        inputs, one_hot = batches.batch(0, index)
        values = [np.asarray(value, "float64") for value in watched.predict_on_batch(inputs)]
        counts += one_hot.sum(axis=0)
        by_class = [one_hot.T @ value for value in values]
        sums = [total + new for total, new in zip(sums, by_class, strict=True)] if sums else by_class
        if index == example // EVALUATION_BATCH:
            kept = [value[example % EVALUATION_BATCH] for value in values]
    layers = []
    for index, block in enumerate(blocks):
        transform, carry, _ = sums[3 * index : 3 * index + 3]
        with np.errstate(invalid="ignore"):
            by_class_transform, by_class_carry = (total / counts[:, None] for total in (transform, carry))
        carry_bias = None if block.carry_gate is None else ops.convert_to_numpy(block.carry_gate.bias)
        layers.append(
            LayerGates(
                block.name,
                ops.convert_to_numpy(block.transform_gate.bias),
                carry_bias,
                transform.sum(axis=0) / counts.sum(),
                carry.sum(axis=0) / counts.sum(),
                by_class_transform,
                by_class_carry,
                *kept[3 * index : 3 * index + 3],
            )
        )
    return Gates(model.name, source.class_names, tuple(layers), source.class_names[labels[example]])


def rows(found: Gates) -> Iterator[GateRow]:
    """Yields a row for each unit of each layer, and for each thing measured of it."""
    for index, layer in enumerate(found.layers, 1):
        for unit in range(len(layer.transform)):
            key = (index, layer.layer, unit)
            carry_bias = None if layer.carry_bias is None else float(layer.carry_bias[unit])
            yield GateRow(*key, "bias", float(layer.transform_bias[unit]), carry_bias)
            yield GateRow(*key, "mean", float(layer.transform[unit]), float(layer.carry[unit]))
            path = (layer.example_transform, layer.example_carry, layer.example_output)
            yield GateRow(*key, "example", *(float(values[unit]) for values in path))
            for name, transform, carry in zip(found.class_names, layer.class_transform, layer.class_carry, strict=True):
                yield GateRow(*key, f"class {name}", float(transform[unit]), float(carry[unit]))


def _gate_model(model: keras.Model, blocks: Iterable[HighwayBlock]) -> keras.Model:
    """Builds a model that returns T, C and y of each layer, averaged over the positions of the map."""
    outputs = [value for block in blocks for value in _Means(block)(block.input, block.output)]
    watched = keras.Model(model.inputs, outputs)
    watched.compile(jit_compile=jit_compile())
    return watched


class _Means(keras.Operation):
    """Averages T, C and y of a layer in the model. A Keras layer in its place would count the weights twice."""

    def __init__(self, block: HighwayBlock) -> None:
        super().__init__(name=f"{block.name}_means")
        self.block = block

    def call(self, x: keras.KerasTensor, y: keras.KerasTensor) -> list[keras.KerasTensor]:
        axis = 1 if self.block.data_format == "channels_first" else len(y.shape) - 1
        axes = [other for other in range(1, len(y.shape)) if other != axis]
        return [ops.mean(value, axis=axes) if axes else value for value in (*self.block.gates(x), y)]
