"""Reads the signature of a user's layer: how many inputs it needs, and which other arguments its call takes."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from .arguments import layer_or_name
from .shapes import Shape, Tensor


def layer_or_layers(value: Any, argument: str) -> Any:
    """A layer, or a list of layers; each can come as its configuration."""
    if not isinstance(value, (list, tuple)):
        return layer_or_name(value, argument, ())
    if not value:
        raise ValueError(f"Expected {argument} to be a layer or a list of layers. Received: {argument}={value!r}")
    return [layer_or_name(layer, argument, ()) for layer in value]


def is_described(value: Any) -> bool:
    """Whether a layer, or one of several, is given as its configuration, so that its weights are new."""
    return any(isinstance(each, dict) for each in (value if isinstance(value, (list, tuple)) else [value]))


@functools.cache
def _read_call(call: Callable) -> tuple[int, tuple[str, ...]]:
    parameters = list(inspect.signature(call).parameters.values())[1:]
    needed = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
    return max(1, len(needed)), tuple(p.name for p in parameters)


def count_inputs(layer: keras.layers.Layer) -> int:
    """The number of inputs that a call of the layer needs."""
    return _read_call(type(layer).call)[0]


def _further_inputs(layer: keras.layers.Layer, x: Any, context: Any) -> list:
    """The inputs after x with which a layer is called: those that it needs, or a context that it may have."""
    needed, names = _read_call(type(layer).call)
    if needed == 1:
        return [context] if context is not None and names[1:2] == ("context",) else []
    return [x if context is None else context] * (needed - 1)


def input_shapes(layer: keras.layers.Layer, shape: Shape, context_shape: Shape | None) -> list[Shape]:
    """The shapes of the inputs with which `call_layer` calls a layer."""
    return [shape, *_further_inputs(layer, shape, context_shape)]


def takes(layer: keras.layers.Layer, argument: str) -> bool:
    return argument in _read_call(type(layer).call)[1]


def is_taken(layers: Sequence[keras.layers.Layer], argument: str) -> bool:
    """Whether one of the layers takes an argument of the call of the layer around them."""
    if argument == "context":
        return any(_further_inputs(layer, None, argument) for layer in layers)
    return any(takes(layer, argument) for layer in layers)


def check_taken(
    layers: Sequence[keras.layers.Layer], context: Tensor | None, attention_mask: Tensor | None, use_causal_mask: bool
) -> None:
    """Raises a ValueError for an argument of the call that no layer takes."""
    given = {
        "context": context is not None,
        "attention_mask": attention_mask is not None,
        "use_causal_mask": use_causal_mask,
    }
    for argument, is_given in given.items():
        if is_given and not is_taken(layers, argument):
            raise ValueError(
                f"Expected a layer that takes the {argument} of the call. "
                f"Received: {[type(layer).__name__ for layer in layers]}"
            )


def check_earlier(gate: keras.layers.Layer | None, earlier: Sequence[Tensor] | None) -> None:
    if earlier and not (gate is not None and takes(gate, "earlier")):
        raise ValueError(
            "Expected a gate that reads the earlier activations of the call, such as LaurelGate('pa'). "
            f"Received: gate={gate and type(gate).__name__}"
        )


def spread(mask: Tensor, x: Tensor) -> Tensor:
    """Broadcasts an attention mask (T, S) or (1, T, S) to (B, T, S), with a row for each example of x."""
    mask = ops.expand_dims(mask, 0) if len(mask.shape) == 2 else mask
    return ops.broadcast_to(mask, (ops.shape(x)[0], *ops.shape(mask)[1:])) if mask.shape[0] == 1 else mask


def call_layer(layer: keras.layers.Layer, x: Tensor, context: Tensor | None, offered: dict[str, Any]) -> Tensor:
    """`layer(x, ...)`, with the context, or else x, as further inputs, and the arguments of `offered` that it takes."""
    others = _further_inputs(layer, x, context)
    return layer(x, *others, **{name: value for name, value in offered.items() if takes(layer, name)})
