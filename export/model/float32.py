"""Copies a model that computes in half precision to float32, with the same weights.

The weights of a mixed policy are float32 already, so nothing is rounded. ONNX cannot hold the original: the converter
silently writes bfloat16 as float16, which has another range.

Neither the config nor the weights hold attributes that were set on a layer later, so plain values, tensors and
functions are copied too. The export compares the copy with the original, because objects of other kinds may differ.

A model that has no config, or has layers that are not registered, cannot be copied. If its weights are float32, it
computes in float32 itself while the export calls it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ExportError, error_line

if TYPE_CHECKING:
    import keras

_HALF = ("bfloat16", "float16")


def convert_to_float32(model: "keras.Model") -> "tuple[keras.Model, str | None]":
    """Returns a model as it is, or a float32 copy and the policy's name if a layer computes in half precision.

    A model that cannot be copied, but has its weights in float32, is returned as it is, with the policy's name.

    Raises:
        ExportError: If the copy cannot be made from the model's config, and a weight has half precision.
    """
    policy = next((layer.dtype_policy.name for layer in model._flatten_layers() if _is_half(layer)), None)
    if policy is None:
        return model, None
    try:
        return _copy(model, policy), policy
    except ExportError:
        if any(weight.dtype in _HALF for weight in model.weights):
            raise
        return model, policy


def _copy(model: "keras.Model", policy: str) -> "keras.Model":
    import keras

    default = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")
        copy = keras.saving.deserialize_keras_object(_widen_config(_read_config(model)), safe_mode=False)
        copy.set_weights(model.get_weights())
        _copy_attributes(model, copy)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ExportError(
            "Expected a model that its config can copy to float32. "
            f"Received: {model.name} with policy {policy} ({error_line(error)})"
        ) from error
    finally:
        keras.config.set_dtype_policy(default)
    if any(_is_half(layer) for layer in copy._flatten_layers()):
        raise ExportError(f"Expected layers with a dtype in their config. Received: {model.name} with policy {policy}")
    return copy


@contextmanager
def compute_in_float32(model: "keras.Model") -> Iterator[None]:
    """Makes the layers of a model that compute in half precision compute in float32."""
    from keras import dtype_policies

    chosen = [(layer, layer._dtype_policy) for layer in model._flatten_layers() if _is_half(layer)]
    try:
        for layer, policy in chosen:
            # That of a quantised layer is called int8_from_mixed_bfloat16.
            mode, separator, _ = policy.name.rpartition("_from_")
            layer._dtype_policy = dtype_policies.get(f"{mode}{separator}float32")
        yield
    finally:
        for layer, policy in chosen:
            layer._dtype_policy = policy


def _copy_attributes(model: "keras.Model", copy: "keras.Model") -> None:
    """Copies plain values that were set on the original's layers and are in neither config nor weights."""
    import keras

    # Keras itself sets the attributes that every layer has.
    own = {*vars(keras.layers.Layer()), *vars(keras.Model())}
    layers, copies = model._flatten_layers(), copy._flatten_layers()
    for layer, other in zip(layers, copies, strict=True):
        for name in vars(layer).keys() - own:
            value = _widen(vars(layer)[name])
            if value is not _OTHER and not _equal(value, _widen(vars(other).get(name, _OTHER))):
                setattr(other, name, value)


_OTHER = object()


def _widen(value: Any) -> Any:
    """Returns a value that can be copied, with half precision as float32; a mark for any other value."""
    from keras import backend, ops

    if backend.is_keras_tensor(value):
        return _OTHER
    if ops.is_tensor(value):
        return ops.cast(value, "float32") if backend.standardize_dtype(value.dtype) in _HALF else value
    if isinstance(value, (np.ndarray, np.generic)):
        return value.astype("float32") if value.dtype.name in _HALF else value
    if isinstance(value, (list, tuple)):
        parts = [_widen(part) for part in value]
        return _OTHER if any(part is _OTHER for part in parts) else tuple(parts) if isinstance(value, tuple) else parts
    if isinstance(value, dict):
        entries = {key: _widen(part) for key, part in value.items()}
        return _OTHER if any(part is _OTHER for part in entries.values()) else entries
    if isinstance(value, FunctionType):
        # A function's closure may hold a layer of the original.
        return value if value.__closure__ is None else _OTHER
    # A name of half precision belongs to the policy.
    plain = value is None or isinstance(value, (bool, int, float, complex, str))
    return value if plain and not _is_half_name(value) else _OTHER


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(_equal, value, other))
    if isinstance(value, dict) and isinstance(other, dict):
        return value.keys() == other.keys() and all(_equal(part, other[key]) for key, part in value.items())
    if isinstance(value, FunctionType) and isinstance(other, FunctionType):
        return value.__code__ is other.__code__
    return other is not _OTHER and bool(np.array_equal(value, other))


def _is_half(layer: "keras.Layer") -> bool:
    return layer.dtype_policy.compute_dtype in _HALF


def _read_config(model: "keras.Model") -> dict[str, Any]:
    import keras

    config = keras.saving.serialize_keras_object(model)
    # Optimizer and losses play no part in inference.
    config.pop("compile_config", None)
    return config


def _widen_config(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and _is_half_name(config["config"]["name"]):
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {k: "float32" if k == "dtype" and _is_half_name(v) else _widen_config(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widen_config(v) for v in config)
    return config


def _is_half_name(name: Any) -> bool:
    return isinstance(name, str) and name.removeprefix("mixed_") in _HALF
