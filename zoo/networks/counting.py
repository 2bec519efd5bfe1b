"""The cost of a network: its parameters, and the multiply-adds of one image.

    convolution    positions of the output * kernel height * kernel width * channels / groups * filters
    dense layer    positions * inputs * units, where an image of one vector is one position

`EinsumDense` and the map that makes the weights of a `HyperConnection` count as dense layers. An `Embedding` only looks
up its rows.

A multiply-add is one multiplication with the addition that follows it; papers that say FLOPs mostly mean these. As in
the papers, biases, normalisations, activations, poolings, additions of skips and products with gates do not count, nor
do the products inside attention.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras

from keras_skip import HyperConnection

# A transposed convolution applies its kernel at each position of its input, others at each position of their output.
TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
COUNTED = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    *TRANSPOSED,
    HyperConnection,
)


def count(variables: Iterable[keras.Variable]) -> int:
    """The number of values in variables."""
    return sum(math.prod(variable.shape) for variable in variables)


def multiply_adds(model: keras.Model, input_shape: Sequence[int] | None = None) -> int:
    """Counts the multiply-adds of one image (or whatever the model takes), in convolutions and dense layers.

    A symbolic pass counts them, so inner layers of blocks count as often as they run at inference.

    Args:
        model: A built model with one input, of `zoo.build` or another.
        input_shape: Of one image, without the batch. Default: the model's own, which then has to be fixed.

    Returns:
        The number of multiplications in convolutions and dense layers.

    Raises:
        ValueError: If the model does not have exactly one input, if the size of the image is not fixed, or if a layer
            has a matrix of neither kind.

    Example:

    >>> import zoo
    >>> zoo.multiply_adds(zoo.build("resnet20"))
    40551040
    """
    return sum(multiply_adds_by_layer(model, input_shape).values())


def multiply_adds_by_layer(model: keras.Model, input_shape: Sequence[int] | None = None) -> dict[str, int]:
    """Counts them for each of `model.layers`, by its name."""
    if len(getattr(model, "inputs", None) or ()) != 1:
        raise ValueError(f"Expected a built model with one input. Received: model={model!r}")
    shape = tuple(model.input_shape[1:] if input_shape is None else input_shape)
    if None in shape:
        raise ValueError(f"Expected input_shape with fixed sizes. Received: input_shape={shape}")
    totals = {layer.name: 0 for layer in model.layers}

    def add(owner: str, layer: keras.layers.Layer, inputs: keras.KerasTensor, outputs: keras.KerasTensor) -> None:
        shape = inputs.shape if isinstance(layer, (*TRANSPOSED, HyperConnection)) else outputs.shape
        totals[owner] += _positions(layer, shape) * math.prod(layer.kernel.shape)

    with ExitStack() as watches:
        for owner, layer in ((outer.name, layer) for outer in model.layers for layer in outer._flatten_layers()):
            if isinstance(layer, COUNTED) and hasattr(layer, "kernel"):
                watches.enter_context(_watch(layer, partial(add, owner)))
            elif not isinstance(layer, keras.layers.Embedding) and any(
                len(variable.shape) > 1 for variable in layer._trainable_variables
            ):
                raise ValueError(
                    "Expected a model whose matrices belong to convolutions and dense layers. "
                    f"Received: {layer.name} of {type(layer).__name__}"
                )
        _Inference(model).compute_output_spec(keras.KerasTensor((1, *shape), model.input.dtype))
    return totals


class _Inference(keras.Operation):
    """The model's own computation as an operation, whose symbolic form runs the layers inside the blocks too."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__()
        self.model = model

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return self.model(inputs, training=False)


@contextmanager
def _watch(
    layer: keras.layers.Layer, report: Callable[[keras.layers.Layer, keras.KerasTensor, keras.KerasTensor], None]
) -> Iterator[None]:
    """While it is open, reports the input and the output of each call of the layer."""
    call = layer.call

    def call_and_report(inputs: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        outputs = call(inputs, *args, **kwargs)
        report(layer, inputs, outputs)
        return outputs

    layer.call = call_and_report
    try:
        yield
    finally:
        del layer.call


def _positions(layer: keras.layers.Layer, shape: Sequence[int]) -> int:
    if isinstance(layer, HyperConnection):
        return math.prod(shape) // layer.kernel.shape[0]
    if isinstance(layer, keras.layers.EinsumDense):
        _, kernel, output = re.split(",|->", layer.equation)
        size = dict(zip(kernel, layer.kernel.shape, strict=True))
        return math.prod(shape) // math.prod(size[axis] for axis in output if axis in size)
    sizes = shape[2:] if getattr(layer, "data_format", None) == "channels_first" else shape[1:-1]
    return math.prod(sizes)
