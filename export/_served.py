"""The function that is exported: raw input -> preprocessing -> model -> activation, a callable with a signature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._precision import in_float32
from .errors import ExportError
from .preprocessing import Preprocessing

INPUT, OUTPUT = "input", "output"
ACTIVATIONS = ("softmax", "sigmoid", None)


@dataclass(frozen=True)
class Served:
    """A model together with what surrounds it in the exported graph.

    Attributes:
        model: The Keras model, computing in float32 (or wider).
        shape: Shape of the raw input, None where it is dynamic; the batch always is.
        model_dtype: Type of the model's own input.
        preprocessing: From raw input to the model's.
        activation: From the model's output to the graph's.
        trained_precision: The dtype policy the model had, where its computation was narrower than float32.
    """

    model: Any
    shape: tuple[int | None, ...]
    model_dtype: str
    preprocessing: Preprocessing
    activation: str | None
    trained_precision: str | None

    def __call__(self, x: Any) -> dict[str, Any]:
        """Runs on a tensor, eagerly or traced."""
        from keras import ops

        raw = self.preprocessing
        x = ops.cast(x, self.model_dtype) if raw.is_identity else ops.cast(raw.apply(x, ops.cast), self.model_dtype)
        y = self.model(x, training=False)
        if self.activation is not None:
            y = getattr(ops, self.activation)(y)
        return {OUTPUT: y}

    def signature(self) -> Any:
        """Returns the tf.TensorSpec of the raw input."""
        import tensorflow as tf

        return tf.TensorSpec(self.shape, self.preprocessing.dtype, name=INPUT)

    def numpy(self, x: np.ndarray) -> np.ndarray:
        """Runs on an array, layer by layer and without tracing: what every other form is compared with."""
        import tensorflow as tf

        # On a GPU TensorFlow may use TF32, which is coarser than what is to be proven.
        with tf.device("/CPU:0"):
            return self(tf.constant(x))[OUTPUT].numpy()


def served(
    model: Any, preprocessing: Preprocessing | Mapping[str, Any] | None = None, activation: str | None = None
) -> Served:
    """Surrounds a model with preprocessing and activation.

    Raises:
        ExportError: If the model is not built, has not exactly one input and one output, or does not run on TensorFlow.
        ValueError: If an argument is not usable.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        raise ExportError(f"Expected Keras to run on the TensorFlow backend. Received: {keras.config.backend()}")
    if not isinstance(model, keras.Model):
        raise ExportError(f"Expected a keras.Model. Received: {type(model).__name__}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"Expected activation to be one of {ACTIVATIONS}. Received: activation={activation!r}")
    shape, model_dtype = _input_of(model)
    output = model.compute_output_spec(keras.KerasTensor(shape, model_dtype))
    if not isinstance(output, keras.KerasTensor):
        raise ExportError(f"Expected the output to be one tensor. Received: {type(output).__name__} of {model.name}")
    if preprocessing is None:
        preprocessing = Preprocessing(dtype=model_dtype)
    elif not isinstance(preprocessing, Preprocessing):
        preprocessing = Preprocessing.from_dict(preprocessing)
    float_model, trained_precision = in_float32(model)
    return Served(float_model, shape, model_dtype, preprocessing, activation, trained_precision)


def _input_of(model: Any) -> tuple[tuple[int | None, ...], str]:
    if not model.built:
        raise ExportError(f"Expected a built model. Received: {model.name}, which has never seen an input.")
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if inputs:
        counts = len(inputs), len(outputs or [])
        if counts != (1, 1):
            raise ExportError(f"Expected one input and one output. Received: {model.name} with {counts}")
        shape, dtype = tuple(inputs[0].shape), inputs[0].dtype
    else:
        shape, dtype = _build_shape(model), "float32"
    # Half precision at the input is part of how a model was trained, not of its interface.
    return (None, *shape[1:]), "float32" if dtype in ("bfloat16", "float16") else dtype


def _build_shape(model: Any) -> tuple[int | None, ...]:
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    if not isinstance(shape, (tuple, list)) or not all(n is None or isinstance(n, int) for n in shape):
        raise ExportError(f"Expected a model built on one input shape. Received: {model.name}, built with {config}")
    return tuple(shape)
