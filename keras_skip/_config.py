"""Arguments that check themselves on the way in and all come back from `get_config`.

A layer states its arguments once, in `__init__`. Arguments that a class hands to its base through ``**options`` appear
in the class's signature and in its docstring as if they had been written out, and `get_config` walks that same
signature: an argument cannot be accepted and then forgotten.
"""

import functools
import inspect
import textwrap
import zlib
from collections.abc import Sequence
from typing import Any

import keras

PACKAGE = "keras_skip"


class _ClassSignature:
    """The signature of a class with the arguments of its bases written out; instances have none of their own."""

    def __get__(self, instance: Any, owner: type) -> inspect.Signature:
        if instance is not None:
            raise AttributeError("__signature__")
        return _merged_signature(owner)


class ConfiguredLayer(keras.layers.Layer):
    """A Keras layer with one attribute per argument; its configuration is its signature."""

    OPTIONS_DOC = ""
    __signature__ = _ClassSignature()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__doc__ and "{options}" in cls.__doc__:
            options = textwrap.indent(inspect.cleandoc(cls.OPTIONS_DOC), " " * 8).lstrip()
            cls.__doc__ = cls.__doc__.replace("{options}", options)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in argument_names(type(self)):
            config[name] = _to_config(name, getattr(self, name))
        return config

    def _build_inside(self, layer: keras.layers.Layer, shape: Any) -> None:
        """Builds a sub-layer, and freezes it if the owner was frozen before the sub-layer was there."""
        if not layer.built:
            layer.build(shape)
        if not self.trainable:
            layer.trainable = False


def argument_names(cls: type) -> list[str]:
    """The named arguments of a layer, in order, those of its bases included and Keras's own not."""
    return [name for name in inspect.signature(cls).parameters if name != "kwargs"]


@functools.cache
def _merged_signature(cls: type) -> inspect.Signature:
    named: dict[str, inspect.Parameter] = {}
    constructors = [base.__dict__["__init__"] for base in cls.__mro__ if "__init__" in base.__dict__ and _is_ours(base)]
    for constructor in constructors:
        for name, parameter in inspect.signature(constructor).parameters.items():
            if name == "self" or parameter.kind is inspect.Parameter.VAR_KEYWORD or name in named:
                continue
            is_first = constructor is constructors[0]
            named[name] = parameter if is_first else parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    keras_own = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    return inspect.Signature([*sorted(named.values(), key=lambda parameter: parameter.kind), keras_own])


def _is_ours(base: type) -> bool:
    return issubclass(base, ConfiguredLayer) and base is not ConfiguredLayer


def _to_config(name: str, value: Any) -> Any:
    if name == "activation":
        return keras.activations.serialize(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (tuple, list)):
        return [_to_config("", item) for item in value]
    return keras.saving.serialize_keras_object(value)


def layer_or_name(value: Any, argument: str, names: Sequence[str | None]) -> Any:
    """One of `names`, or a layer given as an object or as its configuration."""
    if isinstance(value, keras.layers.Layer):
        return value
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, str) and value in names:
        return value
    raise ValueError(f"Expected {argument} to be one of {list(names)} or a layer. Received: {argument}={value!r}")


def one_of(value: Any, argument: str, names: Sequence[str]) -> str:
    if value not in names:
        raise ValueError(f"Expected {argument} to be one of {list(names)}. Received: {argument}={value!r}")
    return value


def boolean(value: Any, argument: str) -> bool:
    if value not in (True, False):
        raise ValueError(f"Expected {argument} to be True or False. Received: {argument}={value!r}")
    return bool(value)


def optional_int(value: Any, argument: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not hasattr(value, "__index__")):
        raise ValueError(f"Expected {argument} to be an integer or None. Received: {argument}={value!r}")
    return value if value is None else int(value)


def positive_int(value: Any, argument: str) -> int:
    if not _is_positive_int(value):
        raise ValueError(f"Expected {argument} to be a positive integer. Received: {argument}={value!r}")
    return int(value)


def _is_positive_int(value: Any) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__") and int(value) > 0


def positive_ints(value: Any, argument: str) -> int | tuple[int, ...]:
    """A positive integer, or one for each spatial dimension."""
    if isinstance(value, (tuple, list)):
        if not 1 <= len(value) <= 3 or not all(_is_positive_int(entry) for entry in value):
            raise ValueError(
                f"Expected {argument} to be one to three positive integers. Received: {argument}={value!r}"
            )
        return tuple(int(entry) for entry in value)
    return positive_int(value, argument)


def number(
    value: Any, argument: str, low: float = -float("inf"), high: float = float("inf"), ends: str = "()"
) -> float:
    """A real number in an interval; `ends` says which of its ends belong to it."""
    if not isinstance(value, bool) and hasattr(value, "__float__"):
        above = value >= low if ends[0] == "[" else value > low
        below = value <= high if ends[1] == "]" else value < high
        if above and below:
            return float(value)
    interval = f"{ends[0]}{low:g}, {high:g}{ends[1]}"
    raise ValueError(f"Expected {argument} to be a number in {interval}. Received: {argument}={value!r}")


def own_initializer(initializer: Any, name: str) -> Any:
    """A copy of an initializer for the sub-layer `name`.

    One Keras initializer object gives the same values at every call, so sub-layers that shared it would start out
    equal. A copy of one without a seed draws afresh; a seed is offset by the sub-layer's name.
    """
    seed = getattr(initializer, "seed", None)
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return initializer
    config = initializer.get_config()
    if isinstance(config.get("seed"), int):
        config["seed"] += zlib.crc32(name.encode()) % 2**20
    return type(initializer).from_config(config)
