"""The cost of a network: its parameters, and the multiply-adds of one input.

    convolution    positions of the output * kernel height * kernel width * channels / groups * filters
    dense layer    positions * inputs * units, where an image of one vector is one position
    recurrent      steps * sizes of the matrices of its cell

`EinsumDense` and the map that makes the weights of a `HyperConnection` count as dense layers, as does a
`ReversibleEmbedding` in reverse. Looking up an embedding costs nothing.

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
    """Counts the multiply-adds of one input, such as an image, in convolutions, dense and recurrent layers.

    A symbolic pass counts them, so inner layers of blocks count as often as they run at inference.

    Args:
        model: A built model with one input, of `zoo.build` or another.
        input_shape: Of one input, without the batch. Default: the model's own, which then has to be fixed.

    Returns:
        The number of multiplications with weights.

    Raises:
        ValueError: If the model does not have exactly one input, if the size of the input is not fixed, or if a layer
            of another kind has a matrix.

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
        totals[owner] += _multiply_adds(layer, inputs.shape, outputs.shape)

    in_cells: set[int] = set()
    with ExitStack() as watches:
        for owner, layer in ((outer.name, layer) for outer in model.layers for layer in outer._flatten_layers()):
            if id(layer) in in_cells:
                continue
            if _is_counted(layer):
                watches.enter_context(_watch(layer, partial(add, owner)))
                if isinstance(layer, keras.layers.RNN):
                    in_cells |= {id(inner) for inner in layer.cell._flatten_layers()}
            elif any(len(variable.shape) > 1 for variable in layer._trainable_variables):
                raise ValueError(
                    "Expected a model whose matrices belong to convolutions, dense, embedding and recurrent layers. "
                    f"Received: {layer.name} of {type(layer).__name__}"
                )
        _Inference(model).compute_output_spec(keras.KerasTensor((1, *shape), model.inputs[0].dtype))
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


def _is_counted(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.RNN):
        return all(len(variable.shape) <= 2 for variable in layer.cell.weights)  # those of ConvLSTM have more
    return isinstance(layer, keras.layers.Embedding) or (isinstance(layer, COUNTED) and hasattr(layer, "kernel"))


def _multiply_adds(layer: keras.layers.Layer, inputs: Sequence[int], outputs: Sequence[int]) -> int:
    """Those of one call of a layer, for the shapes of its input and its output."""
    if isinstance(layer, keras.layers.RNN):
        return inputs[1] * count(variable for variable in layer.cell.weights if "kernel" in variable.name)
    if isinstance(layer, keras.layers.Embedding):
        is_reverse = len(inputs) == len(outputs)
        return math.prod(inputs) * outputs[-1] if is_reverse else 0
    shape = inputs if isinstance(layer, (*TRANSPOSED, HyperConnection)) else outputs
    return _positions(layer, shape) * math.prod(layer.kernel.shape)


def _positions(layer: keras.layers.Layer, shape: Sequence[int]) -> int:
    if isinstance(layer, HyperConnection):
        return math.prod(shape) // layer.kernel.shape[0]
    if isinstance(layer, keras.layers.EinsumDense):
        _, kernel, output = re.split(",|->", layer.equation)
        size = dict(zip(kernel, layer.kernel.shape, strict=True))
        return math.prod(shape) // math.prod(size[axis] for axis in output if axis in size)
    sizes = shape[2:] if getattr(layer, "data_format", None) == "channels_first" else shape[1:-1]
    return math.prod(sizes)
