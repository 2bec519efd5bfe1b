"""The architecture of a network, block by block, for `keras-skip draw`.

Layer names define the stages: "stage2_block7" belongs to "stage2", "stem_conv" and "stem_norm" belong to "stem", and
"block1" to "block10" are one stage if they come in a row. Equal blocks in a row are one unit with a count.

The receptive field is the side of the square of pixels, or the number of steps, that one output of the stage depends
on. With kernel k, dilation d and stride s of each convolution and pooling on the longest path, and the jump j of its
input in pixels,

    r <- r + d (k - 1) j        j <- s j

where upsampling by u has the stride 1 / u. A recurrent layer sees all steps.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import keras

from keras_skip import DenseBlock, HighwayBlock, HyperConnection, Residual
from keras_skip.adaptive.stack import UpdateGate

from ..networks.counting import count, multiply_adds_by_layer
from ..training.runs import Run
from ..weights.loading import load
from .lesions import RESIDUAL

_STAGE = re.compile(r"stage\d+|[a-z]+", re.IGNORECASE)
_UNIT = re.compile(r"stage\d+_block_?\d+|[a-z]+_?\d+|[a-z]+", re.IGNORECASE)
# Layers inside a block that are not on its longest path; a gate has the kernel of the convolution that it gates.
_BESIDE = ("projection", "shortcut", "transform_gate", "carry_gate")
_GATE = "_gate_conv"
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_POOLS = (
    *(keras.layers.MaxPooling1D, keras.layers.MaxPooling2D, keras.layers.MaxPooling3D),
    *(keras.layers.AveragePooling1D, keras.layers.AveragePooling2D, keras.layers.AveragePooling3D),
)
_UPSAMPLING = (keras.layers.UpSampling1D, keras.layers.UpSampling2D, keras.layers.UpSampling3D)


@dataclass(frozen=True)
class Unit:
    """Equal blocks, or layers, in a row.

    Attributes:
        label: Describes one of them.
        repeats: How many there are.
        kind: "add", "gate" or "concatenate" for a block with a skip of that kind, else "".
    """

    label: str
    repeats: int
    kind: str


@dataclass(frozen=True)
class Stage:
    """A part of a network, and its cost for one image.

    Attributes:
        name: Its name.
        units: Its parts, in order.
        output_shape: Of one image.
        parameters: How many are trainable.
        multiply_adds: As `zoo.multiply_adds` counts them.
        receptive_field: In pixels along a side; None: the whole image.
    """

    name: str
    units: tuple[Unit, ...]
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: int | None


def network_stages(model: keras.Model) -> list[Stage]:
    """Lists the stages of a network, from the image to the logits.

    Args:
        model: A network whose layers are a chain of blocks, with an input of fixed size.

    Returns:
        A list of `Stage`.

    Raises:
        ValueError: As in `multiply_adds`.

    Example:

    >>> import zoo
    >>> stages = zoo.network_stages(zoo.build("resnet110"))
    >>> [(unit.label, unit.repeats) for unit in stages[2].units]
    [('ResidualBlock 3x3, 32, stride 2', 1), ('ResidualBlock 3x3, 32', 17)]
    >>> stages[2].receptive_field
    217
    """
    costs = multiply_adds_by_layer(model)
    field, jump = 1, Fraction(1)
    sees_all = False
    stages = []
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for _, group in groupby(layers, partial(_prefix, _STAGE)):
        members = list(group)
        for kernel, stride, dilation in (step for layer in members for step in _longest_path(layer)):
            field, jump = field + int(dilation * (kernel - 1) * jump), jump * stride
        sees_all = sees_all or any(_sees_all(layer) for layer in members)
        shape = tuple(members[-1].output.shape[1:])
        parameters = sum(count(layer.trainable_variables) for layer in members)
        cost = sum(costs[layer.name] for layer in members)
        stages.append(
            Stage(_name(members), tuple(_units(members)), shape, parameters, cost, None if sees_all else field)
        )
    return stages


class StageRow(NamedTuple):
    """A stage as a row of a table; `receptive_field` is None if it covers the whole image."""

    network: str
    stage: str
    units: str
    output_shape: str
    parameters: int
    multiply_adds: int
    receptive_field: int | None


def rows(network: str, stages: Iterable[Stage]) -> Iterator[StageRow]:
    """Yields the rows of the table of a network's stages."""
    for stage in stages:
        units = "; ".join(f"{unit.repeats} x {unit.label}" for unit in stage.units)
        shape = "x".join(map(str, stage.output_shape))
        yield StageRow(network, stage.name, units, shape, stage.parameters, stage.multiply_adds, stage.receptive_field)


def draw(network: "str | Path | Run | keras.Model", path: str | Path, **arguments: Any) -> list[Stage]:
    """Draws a network block by block, with the cost of each stage.

    Args:
        network: One of `list_models()`, the folder of a run, a `.keras` file, or a model.
        path: The figure: .svg, .png or .pdf.
        **arguments: For a name: as in `build`, such as `input_shape` and `depth`.

    Returns:
        The stages, as `network_stages` returns them.

    Raises:
        ValueError: If a name, argument or suffix is unknown, or the size of the image is not fixed.

    Example:

    >>> import tempfile
    >>> import zoo
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stages = zoo.draw("highway_mlp", f"{folder}/highway.svg")
    >>> [stage.name for stage in stages]
    ['flatten', 'stem', 'block1 to block10', 'head']
    """
    from . import charts

    path = Path(path)
    charts.check_format(path)
    if isinstance(network, keras.Model):
        model = network
    else:
        source = network.path if isinstance(network, Run) else network
        model = load(source, **arguments)
    stages = network_stages(model)
    figure = charts.architecture(model.name, tuple(model.input_shape[1:]), stages)
    path.parent.mkdir(parents=True, exist_ok=True)
    charts.save(figure, path)
    return stages


def _prefix(pattern: re.Pattern[str], layer: keras.layers.Layer) -> str:
    match = pattern.match(layer.name)
    return match[0] if match else layer.name


def _name(layers: list[keras.layers.Layer]) -> str:
    """ "stage2", "stem", or "block1 to block10"."""
    if layers[0].name.startswith("stage"):
        return _prefix(_STAGE, layers[0])
    first, last = (_prefix(_UNIT, layers[index]) for index in (0, -1))
    return first if first == last else f"{first} to {last}"


def _units(layers: list[keras.layers.Layer]) -> Iterator[Unit]:
    """Groups layers with a common prefix to units, and counts equal units in a row."""
    described = []
    for _, group in groupby(layers, partial(_prefix, _UNIT)):
        members = list(group)
        label = " · ".join(_label(layer) for layer in members if not type(layer).__name__.startswith("ZeroPadding"))
        size = sum(count(layer.trainable_variables) for layer in members)
        described.append((label, size, tuple(members[-1].output.shape), _kind(members[0])))
    for (label, _, _, kind), group in groupby(described):
        yield Unit(label, len(list(group)), kind)


def _kind(layer: keras.layers.Layer) -> str:
    if isinstance(layer, HighwayBlock):
        return "gate"
    if isinstance(layer, DenseBlock):
        return "concatenate"
    if isinstance(layer, Residual) and layer.gate_layer is not None:
        return "" if isinstance(layer.gate_layer, UpdateGate) else "gate"
    return "add" if isinstance(layer, (Residual, *RESIDUAL)) else ""


def _label(layer: keras.layers.Layer) -> str:
    """Describes a layer and what distinguishes it from others of its kind."""
    kind = type(layer).__name__
    if isinstance(layer, DenseBlock):
        return f"{kind}, {layer.num_layers} layers, growth {layer.growth_rate}"
    if isinstance(layer, (HighwayBlock, *RESIDUAL)):
        rank = len(layer.output.shape) - 2
        size = f"{_kernel_size(layer.conv2 if hasattr(layer, 'conv2') else layer.conv1)}, " if rank else ""
        strided = "" if _stride(layer) == 1 else f", stride {_stride(layer)}"
        projected = "" if getattr(layer, "projection", None) is None else ", projection"
        axis = 1 if layer.data_format == "channels_first" else -1
        return f"{kind} {size}{layer.output.shape[axis]}{strided}{projected}"
    if isinstance(layer, (Residual, HyperConnection)):
        return f"{kind}: {', '.join(type(inner).__name__ for inner in layer.layers)}"
    if isinstance(layer, _CONVOLUTIONS):
        strided = "" if _stride(layer) == 1 else f", stride {_stride(layer)}"
        return f"conv {_kernel_size(layer)}, {layer.filters}{strided}{_activation_suffix(layer)}"
    if isinstance(layer, keras.layers.Dense):
        return f"dense {layer.units}{_activation_suffix(layer)}"
    if isinstance(layer, keras.layers.BatchNormalization):
        return "norm"
    if isinstance(layer, keras.layers.Activation):
        return layer.activation.__name__
    if isinstance(layer, keras.layers.Dropout):
        return f"dropout {layer.rate}"
    if isinstance(layer, _POOLS):
        average = "average" if type(layer).__name__.startswith("Average") else "max"
        return f"{average} pooling {'x'.join(map(str, layer.pool_size))}, stride {layer.strides[0]}"
    return "global average pooling" if kind.startswith("GlobalAverage") else {"Flatten": "flatten"}.get(kind, kind)


def _activation_suffix(layer: keras.layers.Layer) -> str:
    name = layer.activation.__name__
    return "" if name == "linear" else f" · {name}"


def _kernel_size(layer: keras.layers.Layer) -> str:
    return "x".join(map(str, layer.kernel_size))


def _stride(layer: keras.layers.Layer) -> int:
    strides = getattr(layer, "strides", 1)
    return strides if isinstance(strides, int) else max(strides)


def _sees_all(layer: keras.layers.Layer) -> bool:
    """Whether an output of a layer depends on all positions of its input."""
    if isinstance(layer, keras.layers.Dense):
        return len(layer.input.shape) == 2
    # A reshaped image is a sequence, whose steps attention mixes.
    whole = (keras.layers.Flatten, keras.layers.Reshape, keras.layers.RNN)
    return isinstance(layer, whole) or type(layer).__name__.startswith("GlobalAveragePooling")


def _longest_path(layer: keras.layers.Layer) -> Iterator[tuple[int, int | Fraction, int]]:
    """Yields kernel, stride and dilation of each convolution and pooling on the longest path, along the first side."""
    for inner in layer._flatten_layers():
        if inner.name.endswith(_GATE) or (inner is not layer and inner.name in _BESIDE):
            continue
        if isinstance(inner, _CONVOLUTIONS):
            yield inner.kernel_size[0], inner.strides[0], inner.dilation_rate[0]
        elif isinstance(inner, _POOLS):
            yield inner.pool_size[0], inner.strides[0], 1
        elif isinstance(inner, _UPSAMPLING):
            yield 1, Fraction(1, inner.size[0] if isinstance(inner.size, tuple) else inner.size), 1
        elif isinstance(inner, keras.layers.Conv2DTranspose):
            yield -(-inner.kernel_size[0] // inner.strides[0]), Fraction(1, inner.strides[0]), 1
