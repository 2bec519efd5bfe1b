"""The temporal convolutional network: residual blocks of dilated convolutions that read no later step.

    u = drop(relu(norm(conv(drop(relu(norm(conv(x))))))))
    y = relu(x + u)             a 1x1 convolution of x where the widths differ

The dilations 1, 2, 4, ... of the blocks double, so n blocks of kernels of size k see the 1 + 2 (k - 1) (2^n - 1) latest
steps. With skip connections, the output is relu(y_n + u_1 + ... + u_(n-1)).

The paper normalises the weights, as w = g v / |v|. Files that hold g and v are read as the kernels w.

Bai et al., An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling, 2018,
https://arxiv.org/abs/1803.01271
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from ...weights.naming import minus_one, torch_naming
from .._arguments import falling_survival, number, one_of, positive, positive_integers
from .._common import NORM, batch_norm, channels_first, network, network_input
from ..family import Family, Row
from ._steps import add_update, causal_convolution, document_sequences, project, step_head, swap_axes

if TYPE_CHECKING:
    import keras

TCN = (
    "Bai et al. 2018, An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling, "
    "arXiv 1803.01271"
)


@document_sequences
def tcn(
    input_shape: Sequence[int | None],
    classes: int = 10,
    filters: Sequence[int] = (25,) * 8,
    kernel_size: int = 7,
    dilation_rates: Sequence[int] | None = None,
    normalization: Literal["batch", "layer"] | None = None,
    dropout: float = 0.0,
    skip_connections: bool = False,
    return_sequences: bool = False,
    survival_prob: float = 1.0,
    weight_decay: float = 0.0,
    features_only: bool = False,
) -> "keras.Model":
    """Temporal convolutional network: causal residual blocks, and logits of the last step or of each.

    Args:
        filters: Channels of each block.
        kernel_size: Of both convolutions of a block.
        dilation_rates: Of each block. Default: 1, 2, 4, ...
        normalization: "batch", "layer" (over the channels of each step), or None. Files with the paper's
            weight normalisation need None: it becomes part of the kernels.
        dropout: Rate after both activations of a block; the authors' code has 0.05 for the pixels of MNIST.
        skip_connections: Whether the updates of all blocks are added to the output of the last.

    Returns:
        A model from float series to logits, named "tcn".

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.sequences.tcn import tcn
    >>> tcn((784, 1), classes=10).count_params()
    66510
    """
    widths, rates = _check_blocks(filters, dilation_rates)
    positive(kernel_size, "kernel_size")
    one_of(normalization, "normalization", (None, "batch", "layer"))
    series = network_input(input_shape, ("steps",), "series")
    x, updates = series, []
    options = (kernel_size, normalization, number(dropout, "dropout", 0, 1), weight_decay)
    survivals = falling_survival(survival_prob, len(widths))
    for block, (width, rate, survival) in enumerate(zip(widths, rates, survivals, strict=True), 1):
        update = _branch(x, width, rate, f"block{block}", *options)
        x = add_update(x, update, survival, f"block{block}", weight_decay)
        x = _relu(x, f"block{block}_activation")
        updates.append(update)
    if skip_connections:
        x = _add_skips(updates[:-1], x, weight_decay)
    return network(series, {"C0": x}, classes, weight_decay, "tcn", features_only, step_head(return_sequences))


def _check_blocks(
    filters: Sequence[int], dilation_rates: Sequence[int] | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The width and the dilation rate of each block."""
    widths = positive_integers(filters, "filters")
    doubling = tuple(2**block for block in range(len(widths)))
    rates = doubling if dilation_rates is None else positive_integers(dilation_rates, "dilation_rates")
    if len(rates) != len(widths):
        raise ValueError(
            f"Expected dilation_rates to have one for each of the {len(widths)} blocks. "
            f"Received: dilation_rates={dilation_rates!r}"
        )
    return widths, rates


def _branch(
    x: "keras.KerasTensor",
    width: int,
    rate: int,
    name: str,
    kernel_size: int,
    normalization: str | None,
    dropout: float,
    weight_decay: float,
) -> "keras.KerasTensor":
    import keras

    for place in (1, 2):
        x = causal_convolution(x, width, kernel_size, f"{name}_conv{place}", weight_decay, rate)
        x = _relu(_norm(x, normalization, f"{name}_norm{place}"), f"{name}_activation{place}")
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"{name}_dropout{place}")(x)
    return x


def _norm(x: "keras.KerasTensor", normalization: str | None, name: str) -> "keras.KerasTensor":
    import keras

    if normalization == "batch":
        return batch_norm(name)(x)
    if normalization == "layer":
        # On torch, Keras up to 3.15 only normalises the last axes.
        x = swap_axes(x, f"{name}_steps_first") if channels_first() else x
        x = keras.layers.LayerNormalization(epsilon=NORM["epsilon"], name=name)(x)
        return swap_axes(x, f"{name}_channels_first") if channels_first() else x
    return x


def _relu(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
    import keras

    return keras.layers.Activation("relu", name=name)(x)


def _add_skips(
    updates: "Sequence[keras.KerasTensor]", x: "keras.KerasTensor", weight_decay: float
) -> "keras.KerasTensor":
    """Adds the updates to the output of the last block, through 1x1 convolutions where their widths differ."""
    import keras

    terms = [project(u, x, f"skip{block}_projection", weight_decay) for block, u in enumerate(updates, 1)]
    return _relu(keras.layers.Add(name="skips")([*terms, x]) if terms else x, "skips_activation")


# The names of pytorch_tcn. The authors' networks have other names outside the blocks, and hold each convolution twice.
TORCH_NAMING = torch_naming(
    "pytorch_tcn",
    (
        (r"^head$", "projection_out"),
        (r"^skip(\d+)_projection$", minus_one("downsample_skip_connection.{}")),
        (r"^block(\d+)_", minus_one("network.{}.")),
        (r"\.projection$", ".downsample"),
    ),
    older=((r"^tcn\.", ""), (r"^(linear|decoder)\.", "projection_out.")),
    unused=r"buffer$|\.net\.\d+\.",
)

FAMILIES = (
    Family(
        tcn,
        "temporal convolutional network: causal residual blocks with growing dilations",
        (Row("tcn", {"filters": (25,) * 8, "kernel_size": 7}, 66_510, 0, 51_607_050),),
        TCN,
        task="sequences",
        input_shape=(784, 1),
        namings=(TORCH_NAMING,),
        anchors=("block1_conv1/kernel", "head/bias"),
    ),
)
