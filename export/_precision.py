"""A model that computes in half precision, made again in float32 with the same weights.

Under a mixed policy the weights are float32 already, so that nothing is rounded here. ONNX could not hold the original:
the converter silently writes bfloat16 as float16, which has another range.
"""

from typing import Any

from .errors import ExportError, in_one_line

_HALF = ("bfloat16", "float16")


def in_float32(model: Any) -> tuple[Any, str | None]:
    """Returns the model itself, or a float32 copy and the policy's name where a layer computes in half precision.

    Raises:
        ExportError: If the copy cannot be made from the model's config.
    """
    policy = next((layer.dtype_policy.name for layer in model._flatten_layers() if _is_half(layer)), None)
    if policy is None:
        return model, None
    import keras

    default = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("float32")
        copy = keras.saving.deserialize_keras_object(_widened(_config(model)), safe_mode=False)
        copy.set_weights(model.get_weights())
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ExportError(
            "Expected a model that can be made again in float32 from its config. "
            f"Received: {model.name} with policy {policy} ({in_one_line(error)})"
        ) from error
    finally:
        keras.config.set_dtype_policy(default)
    if any(_is_half(layer) for layer in copy._flatten_layers()):
        raise ExportError(f"Expected layers with a dtype in their config. Received: {model.name} with policy {policy}")
    return copy, policy


def _is_half(layer: Any) -> bool:
    return layer.dtype_policy.compute_dtype in _HALF


def _config(model: Any) -> dict[str, Any]:
    import keras

    config = keras.saving.serialize_keras_object(model)
    # Optimizer and losses play no part in inference.
    config.pop("compile_config", None)
    return config


def _widened(config: Any) -> Any:
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and _narrow(config["config"]["name"]):
            return {**config, "config": {**config["config"], "name": "float32"}}
        return {k: "float32" if k == "dtype" and _narrow(v) else _widened(v) for k, v in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(v) for v in config)
    return config


def _narrow(name: Any) -> bool:
    return isinstance(name, str) and name.removeprefix("mixed_") in _HALF
