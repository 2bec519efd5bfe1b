"""WaveNet: gated residual blocks of dilated convolutions that read no later step, and skips from each to the output.

    z = tanh(W_f * x) sigmoid(W_g * x)
    y = x + W_r z                   the next block's input
    s = sum of the W_s z of all blocks
    logits = W_2 relu(W_1 relu(s) + b_1) + b_2

x is a causal convolution of the input. W_f and W_g are dilated convolutions, the others have a kernel of one step; the
biases of the blocks are left out here. The dilations double from block to block and start again at 1 after each cycle,
so c cycles of n blocks with kernels of size k see the latest 1 + (k - 1) (1 + c (2^n - 1)) steps.

van den Oord et al., WaveNet: A Generative Model for Raw Audio, 2016, https://arxiv.org/abs/1609.03499
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .._arguments import falling_survival, positive
from .._common import channels_first, network
from ..family import Family, Row
from ._steps import add_update, causal_convolution, document_sequences, sequence_input, step_head, swap_axes

if TYPE_CHECKING:
    import keras

WAVENET = "van den Oord et al. 2016, WaveNet: A Generative Model for Raw Audio, arXiv 1609.03499"


@document_sequences
def wavenet(
    input_shape: Sequence[int | None],
    classes: int = 256,
    filters: int = 32,
    skip_filters: int = 512,
    kernel_size: int = 2,
    depth: int = 30,
    cycle: int = 10,
    return_sequences: bool = True,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
) -> "keras.Model":
    """WaveNet without conditioning, for quantised audio or for series of floats.

    Args:
        input_shape: (steps,) of integers below `classes`, such as the 256 of the mu-law, whose embeddings are learned;
            or (steps, channels) of floats. Steps may be None.
        classes: Number of logits.
        filters: Channels of the blocks. The paper does not state its widths; the default ones are common.
        skip_filters: Channels of the sum of the skips, and of the hidden layer after it.
        kernel_size: Of the first convolution and the dilated ones.
        depth: Number of blocks.
        cycle: Number of blocks after which the dilations 1, 2, 4, ... start again.

    Returns:
        A model from tokens or float series to logits, named "wavenet". To predict the next step, train it on targets
        that are shifted by one step.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.sequences.wavenet import wavenet
    >>> wavenet((None,), depth=4, cycle=2).output_shape
    (None, None, 256)
    >>> wavenet((100, 3), classes=5, depth=4, return_sequences=False).output_shape
    (None, 5)
    """
    import keras

    positive(cycle, "cycle")
    positive(kernel_size, "kernel_size")
    inputs = sequence_input(input_shape)
    x = inputs if len(inputs.shape) == 3 else _embed(inputs, positive(classes, "classes"), positive(filters, "filters"))
    x = causal_convolution(x, positive(filters, "filters"), kernel_size, "stem_conv", weight_decay)
    skips = []
    for block, survival in enumerate(falling_survival(survival_prob, positive(depth, "depth")), 1):
        name = f"block{block}"
        z = _gate(x, filters, kernel_size, name, weight_decay, dilation_rate=2 ** ((block - 1) % cycle))
        skips.append(
            causal_convolution(z, positive(skip_filters, "skip_filters"), 1, f"{name}_skip_conv", weight_decay)
        )
        if block < depth:  # nothing reads the sum of the last block
            update = causal_convolution(z, filters, 1, f"{name}_conv", weight_decay)
            x = add_update(x, update, survival, name, weight_decay)
    total = keras.layers.Add(name="skips")(skips) if depth > 1 else skips[0]

    def top(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
        x = keras.layers.Activation("relu", name="skips_activation")(x)
        x = causal_convolution(x, skip_filters, 1, "hidden_conv", weight_decay)
        x = keras.layers.Activation("relu", name="hidden_activation")(x)
        return step_head(return_sequences)(x, classes, weight_decay)

    return network(inputs, {"C0": total}, classes, weight_decay, "wavenet", features_only, top)


def _embed(tokens: "keras.KerasTensor", vocabulary: int, filters: int) -> "keras.KerasTensor":
    import keras

    x = keras.layers.Embedding(vocabulary, filters, name="embedding")(tokens)
    return swap_axes(x, "channels_first") if channels_first() else x


def _gate(
    x: "keras.KerasTensor", filters: int, kernel_size: int, name: str, weight_decay: float, dilation_rate: int
) -> "keras.KerasTensor":
    """tanh(W_f * x) sigmoid(W_g * x)"""
    import keras

    parts = []
    for part, activation in (("filter", "tanh"), ("gate", "sigmoid")):
        y = causal_convolution(x, filters, kernel_size, f"{name}_{part}_conv", weight_decay, dilation_rate)
        parts.append(keras.layers.Activation(activation, name=f"{name}_{part}")(y))
    return keras.layers.Multiply(name=f"{name}_gated")(parts)


FAMILIES = (
    Family(
        wavenet,
        "WaveNet: gated residual blocks with growing dilations, and skips from each to the output",
        (Row("wavenet", {"filters": 32, "skip_filters": 512, "depth": 30}, 1_066_560, 0, 16_629_760_000),),
        WAVENET,
        task="sequences",
        input_shape=(16_000,),
        classes=256,
    ),
)
