"""Puts preprocessing and an activation around a model, and finds inputs that it takes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError, error_line
from ..preprocessing import Preprocessing
from ..storage.arrays import Batch
from ..storage.schema import ACTIVATIONS, LAYOUTS, PROBABILITIES, Activation, Layout
from .endpoint import Endpoint, Gates
from .float32 import convert_to_float32
from .input_search import find_bounds, find_sizes
from .inputs import RawInput, make_zeros
from .layout import check_layout, is_channels_first, move_array_channels, move_shape_channels
from .ranges import is_open
from .signature import Input, Samples, Signature, flatten_samples, make_distinct, read_signature
from .tracers import TensorFlowTracer, Tracer

if TYPE_CHECKING:
    import keras

CARRY = "carry"


def make_endpoint(
    model: "keras.Model",
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    activation: Activation | None = None,
    layout: Layout | None = None,
    samples: Samples | None = None,
    tracer: Tracer | None = None,
) -> Endpoint:
    """Puts preprocessing and an activation around a model.

    Args:
        model: A Keras model.
        preprocessing: Turns raw input into the input of a model that has one.
        activation: Added to the output of a model that has one.
        layout: The axis of the channels of images at the edge of the graph.
        samples: Raw inputs, which build a model that has never seen an input, and give dynamic dimensions their size.
        tracer: Reads types and ranges of inputs in the model's graph; by default TensorFlow in this process.

    Raises:
        ExportError: If the inputs of the model are unknown.
        ValueError: If an argument is invalid, or the model takes none of the sizes that are tried.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise ExportError(f"Expected a keras.Model. Received: {type(model).__name__}")
    for name, value, known in (("activation", activation, ACTIVATIONS), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise ValueError(f"Expected {name} to be one of {known}. Received: {name}={value!r}")
    if not (preprocessing is None or isinstance(preprocessing, Preprocessing)):
        preprocessing = Preprocessing.from_dict(preprocessing)
    tracer = tracer or TensorFlowTracer()
    signature = read_signature(model, _to_model_inputs(model, samples, preprocessing, layout), tracer)
    _check_counts(model, signature, preprocessing, activation)
    check_layout(model, signature.inputs, layout)
    # A model may show more once it is built.
    own_first = is_channels_first(model)
    first = own_first if layout is None else layout == "nchw"
    moves = first != own_first
    float_model, trained_precision = convert_to_float32(model)
    endpoint = Endpoint(
        model=float_model,
        signature=signature,
        inputs=tuple(_raw_input(own, preprocessing, moves, first) for own in signature.inputs),
        outputs=(PROBABILITIES,) if activation else signature.outputs,
        activation=activation,
        moves_channels=moves,
        channels_first=first,
        trained_precision=trained_precision,
        widens=float_model is model and trained_precision is not None,
    )
    return _find_inputs(endpoint, flatten_samples(signature, samples), tracer)


def _find_inputs(endpoint: Endpoint, known: Batch | None, tracer: Tracer) -> Endpoint:
    """Finds the sizes and ranges of inputs that the model takes, from which inputs are drawn."""
    endpoint = replace(endpoint, inputs=find_sizes(endpoint.inputs, known, endpoint.compute))
    _check_any_batch(endpoint)
    if any(is_open(raw, endpoint.model) for raw in endpoint.inputs):
        endpoint = replace(endpoint, inputs=tracer.find_ranges(endpoint))
    return replace(endpoint, inputs=find_bounds(endpoint.inputs, known, endpoint.compute))


def _to_model_inputs(
    model: "keras.Model", samples: Samples | None, preprocessing: Preprocessing | None, layout: Layout | None
) -> Samples | None:
    """Converts raw samples to inputs of the model."""
    from keras import tree

    if preprocessing is not None and samples is not None:
        if isinstance(samples, Mapping):
            samples = {name: preprocessing.apply(x) for name, x in samples.items()}
        else:
            samples = preprocessing.apply(samples)
    if samples is not None and layout is not None and is_channels_first(model) != (layout == "nchw"):
        samples = tree.map_structure(
            lambda x: move_array_channels(np.asarray(x), last_to_first=layout == "nhwc"), samples
        )
    return samples


def _check_counts(
    model: "keras.Model", signature: Signature, preprocessing: Preprocessing | None, activation: Activation | None
) -> None:
    inputs, outputs = len(signature.inputs), len(signature.outputs)
    if preprocessing is not None and inputs != 1:
        raise ValueError(
            f"Expected a model with one input for preprocessing. Received: {model.name} with {inputs} inputs"
        )
    if activation is not None and outputs != 1:
        raise ValueError(
            f"Expected a model with one output for an activation. Received: {model.name} with {outputs} outputs"
        )


def add_gates(endpoint: Endpoint) -> Endpoint:
    """Adds the output with the gates of highway blocks.

    Raises:
        ValueError: If the model runs no highway block.
    """
    from keras_skip.highway import recorded_gates

    with recorded_gates() as gates:
        endpoint.run(make_zeros(endpoint.inputs))
    names = (*(raw.name for raw in endpoint.inputs), *endpoint.outputs)
    output = make_distinct([*names, CARRY])[-1]
    layers = tuple(block.name for block, _, _ in gates)
    return replace(endpoint, outputs=(*endpoint.outputs, output), gates=Gates(output, layers))


def _raw_input(own: Input, preprocessing: Preprocessing | None, moves: bool, first: bool) -> RawInput:
    shape = move_shape_channels(own.shape, first) if moves else own.shape
    return RawInput(own.name, shape, own.dtype if preprocessing is None else preprocessing.dtype, preprocessing)


def _check_any_batch(endpoint: Endpoint) -> None:
    """Raises an ExportError if a model keeps a state, or takes only batches of one size."""
    model = endpoint.model
    stateful = [layer.name for layer in model._flatten_layers() if getattr(layer, "stateful", False) is True]
    if stateful:
        raise ExportError(
            f"Expected a model that keeps no state between batches. Received: {model.name}, whose "
            f"{', '.join(stateful)} is stateful"
        )
    sizes = {tensor.shape[0] for tensor in getattr(model, "inputs", None) or [] if tensor.shape} - {None}
    for size in sizes:
        batch = {name: np.zeros((size + 1, *x.shape[1:]), x.dtype) for name, x in make_zeros(endpoint.inputs).items()}
        try:
            endpoint.compute(batch)
        except Exception as error:  # The model's own code may raise anything.
            raise ExportError(
                f"Expected a model that takes batches of any size. Received: {model.name}, made for batches of {size} "
                f"({error_line(error)})"
            ) from error
