"""Checks of arguments: each gives the value in its own type, or says what it expected and what it received."""

import inspect
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_type_hints

import keras

Size = int | tuple[int, ...]  # one for all spatial dimensions, or one for each


class Argument(NamedTuple):
    """An argument that many classes take: its default, a check of value and name, and its type."""

    default: Any
    check: Callable[[Any, str], Any]
    annotation: Any = inspect.Parameter.empty


def annotate(arguments: dict[str, Argument], options: type) -> dict[str, Argument]:
    """The arguments with the types that a typed dictionary has for them."""
    types = get_type_hints(options)
    return {
        name: argument._replace(annotation=types.get(name, argument.annotation)) for name, argument in arguments.items()
    }


def layer_or_name(value: Any, argument: str, names: Sequence[str | None]) -> Any:
    """One of `names`, or a layer given as an object or as its configuration."""
    if isinstance(value, keras.layers.Layer):
        return value
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value)
    if isinstance(value, str) and value in names:
        return value
    expected = f"one of {list(names)} or a layer" if names else "a layer"
    if inspect.isclass(value) and issubclass(value, keras.layers.Layer):
        expected += f", as in {argument}={value.__name__}(...), not its class"
    raise ValueError(f"Expected {argument} to be {expected}. Received: {argument}={value!r}")


def one_of(value: Any, argument: str, names: Sequence[Any]) -> Any:
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


def non_negative_int(value: Any, argument: str) -> int:
    if not _is_int(value, 0):
        raise ValueError(f"Expected {argument} to be 0 or a positive integer. Received: {argument}={value!r}")
    return int(value)


def _is_positive_int(value: Any) -> bool:
    return _is_int(value, 1)


def _is_int(value: Any, low: int) -> bool:
    return not isinstance(value, bool) and hasattr(value, "__index__") and int(value) >= low


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
