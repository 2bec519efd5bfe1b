"""What the networks for sequences share: causal convolutions, sums, and logits of the last step or of all."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .._arguments import document, positive
from .._common import channel_axis, channels_first, head, kernels, network_input

if TYPE_CHECKING:
    import keras

document_sequences = partial(
    document,
    input_shape="(steps, channels); steps may be None.",
    return_sequences="Whether there are logits for each step, (steps, classes), or for the last one alone.",
    survival_prob="Of the last block in training; the probabilities fall to it linearly.",
)


def sequence_input(input_shape: Sequence[int | None]) -> "keras.KerasTensor":
    """Makes the symbolic input of floats, (steps, channels), or of tokens, (steps,); see `network_input`."""
    import keras

    if not isinstance(input_shape, (tuple, list)) or len(input_shape) != 1:
        return network_input(input_shape, ("steps",), "series")
    if input_shape[0] is not None:
        positive(input_shape[0], "input_shape")
    return keras.Input(tuple(input_shape), dtype="int32", name="tokens")


def causal_convolution(
    x: "keras.KerasTensor", filters: int, kernel_size: int, name: str, weight_decay: float, dilation_rate: int = 1
) -> "keras.KerasTensor":
    """Applies a convolution with a bias, whose output at a step depends on no later step."""
    import keras

    options: dict[str, Any] = {"padding": "causal", "dilation_rate": dilation_rate, **kernels(weight_decay)}
    return keras.layers.Conv1D(filters, kernel_size, name=name, **options)(x)


def project(x: "keras.KerasTensor", y: "keras.KerasTensor", name: str, weight_decay: float) -> "keras.KerasTensor":
    """Gives x as many channels as y has, by a convolution of size 1 if the numbers differ."""
    axis = channel_axis()
    filters = y.shape[axis]
    return x if x.shape[axis] == filters else causal_convolution(x, filters, 1, name, weight_decay)


def add_update(
    x: "keras.KerasTensor", update: "keras.KerasTensor", survival_prob: float, name: str, weight_decay: float
) -> "keras.KerasTensor":
    """Adds the update of a block to its input or a projection of it; training drops the updates of some examples."""
    import keras

    from keras_skip import DropPath

    if survival_prob < 1.0:
        update = DropPath(1.0 - survival_prob, name=f"{name}_drop")(update)
    return keras.layers.Add(name=f"{name}_sum")([project(x, update, f"{name}_projection", weight_decay), update])


def swap_axes(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    """Swaps the steps and the channels."""
    import keras

    return keras.layers.Permute((2, 1), name=name)(x)


def step_head(return_sequences: bool) -> "Callable[..., keras.KerasTensor]":
    """The `top` of `network` that makes logits of each step or of the last one."""

    def top(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
        if channels_first():
            x = swap_axes(x, "steps_first")
        return head(x if return_sequences else x[:, -1], classes, weight_decay)

    return top
