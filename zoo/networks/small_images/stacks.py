"""Networks of equal blocks that differ only in how the blocks are connected, to compare the kinds of skips.

    encoder      patches, positions, `depth` blocks of attention and two dense layers, normalisation, mean, logits
    convnet      a convolution, three stages of `depth` blocks with widths w, 2w, 4w, normalisation, pooling, logits
    perceptron   a dense layer, `depth` blocks of two dense layers, normalisation, logits

Each block normalises first. `keras_skip.stack` makes the connections: one around each block, and in the encoder one
around the attention and another around the dense layers. The rest of a network is the same for every `skip`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from .._arguments import document, positive
from .._common import (
    batch_norm,
    channel_axis,
    channels_first,
    convolution,
    decay,
    head,
    image_input,
    kernels,
    network,
    norm_activation,
    sides,
)
from ..family import Family, Row

if TYPE_CHECKING:
    import keras

_document = partial(
    document,
    skip="""The connections: "residual", "highway", "hyper" (streams), "depth_average", "depth_attention", or None; see
            `keras_skip.stack`.""",
    streams='How many streams "hyper" has.',
    constraint="""Of the matrices by which "hyper" mixes its streams: "birkhoff", "sinkhorn" or None; see
            `keras_skip.HyperConnection`.""",
)
Skip = Literal["residual", "highway", "hyper", "depth_average", "depth_attention"] | None
Constraint = Literal["birkhoff", "sinkhorn"] | None


@_document
def stack_encoder(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 32,
    heads: int = 4,
    patch_size: int | None = None,
    skip: Skip = "residual",
    streams: int = 4,
    constraint: Constraint = "birkhoff",
    weight_decay: float = 0.0,
) -> "keras.Model":
    """Transformer encoder for images, with any kind of skip.

    Args:
        input_shape: (height, width, channels).
        depth: Blocks, each of attention and two dense layers, which have a connection each.
        width: Channels of a step.
        heads: Of the attention; they divide `width`.
        patch_size: Side of the square patches that are the steps of the sequence; it divides height and width. None:
            the rows of the image are the steps.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.stacks import stack_encoder
    >>> stack_encoder((8, 8, 1), depth=2, skip="depth_average").output_shape
    (None, 10)
    """
    import keras

    if positive(width, "width") % positive(heads, "heads"):
        raise ValueError(f"Expected heads to divide the width of {width}. Received: heads={heads}")
    options = {"kernel_initializer": "glorot_uniform", "kernel_regularizer": decay(weight_decay)}
    dense = partial(keras.layers.Dense, **options)
    image = image_input(input_shape)
    x = _patches(image, patch_size)
    # Each step has a bias of its own, which encodes its position.
    x = keras.layers.EinsumDense(
        "btp,pc->btc", (x.shape[1], width), bias_axes="tc", bias_initializer="random_normal", name="stem", **options
    )(x)
    layers: list[Any] = []
    for block in range(1, positive(depth, "depth") + 1):
        name = f"block{block}"
        layers += [
            keras.layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention", **options),
            [dense(4 * width, activation="gelu", name=f"{name}_up"), dense(width, name=f"{name}_down")],
        ]
    x = _stack(layers, skip, streams, constraint, "layer", data_format="channels_last")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x)
    x = keras.layers.GlobalAveragePooling1D(data_format="channels_last", name="pool")(x)
    return keras.Model(image, head(x, classes, weight_decay), name="stack_encoder")


def _patches(image: "keras.KerasTensor", patch_size: int | None) -> "keras.KerasTensor":
    """Cuts an image into rows, or into square patches, which follow each other as (B, steps, pixels)."""
    import keras

    height, width = sides(image)
    if height is None or width is None:
        raise ValueError(f"Expected a fixed input_shape for learned positions. Received: input_shape={image.shape[1:]}")
    tall, wide = (1, width) if patch_size is None else (positive(patch_size, "patch_size"),) * 2
    if height % tall or width % wide:
        raise ValueError(
            f"Expected patch_size to divide height and width, {height} and {width}. Received: patch_size={patch_size}"
        )
    grid = (height // tall, tall, width // wide, wide)
    channels = image.shape[channel_axis()]
    cut, order = ((channels, *grid), (2, 4, 3, 5, 1)) if channels_first() else ((*grid, channels), (1, 3, 2, 4, 5))
    x = keras.layers.Permute(order, name="patches_order")(keras.layers.Reshape(cut, name="patches_grid")(image))
    return keras.layers.Reshape((grid[0] * grid[2], tall * wide * channels), name="patches_steps")(x)


@_document
def stack_convnet(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 4,
    width: int = 16,
    skip: Skip = "residual",
    streams: int = 4,
    constraint: Constraint = "birkhoff",
    weight_decay: float = 0.0,
    features_only: bool = False,
) -> "keras.Model":
    """Convolutional network for small images, with any kind of skip. Connections do not cross stages.

    Args:
        depth: Blocks of each stage. A block is that of a pre-activation network: two convolutions, and batch
            normalisation and ReLU before each.
        width: Channels of the first stage; later ones have twice and four times as many.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.stacks import stack_convnet
    >>> stack_convnet((8, 8, 1), depth=1, skip="depth_attention").output_shape
    (None, 10)
    """
    import keras

    image = image_input(input_shape)
    x, maps = image, {}
    for stage in range(1, 4):
        filters, name = positive(width, "width") * 2 ** (stage - 1), f"stage{stage}"
        x = convolution(x, filters, f"{name}_conv", weight_decay, strides=1 if stage == 1 else 2)
        conv = partial(keras.layers.Conv2D, filters, 3, padding="same", use_bias=False)
        blocks = []
        for block in (f"{name}_block{index}" for index in range(1, positive(depth, "depth") + 1)):
            blocks.append(
                [
                    keras.layers.Activation("relu", name=f"{block}_activation1"),
                    conv(name=f"{block}_conv1", **kernels(weight_decay)),
                    batch_norm(f"{block}_norm2"),
                    keras.layers.Activation("relu", name=f"{block}_activation2"),
                    conv(name=f"{block}_conv2", **kernels(weight_decay)),
                ]
            )
        x = maps[f"C{stage - 1}"] = _stack(
            blocks, skip, streams, constraint, f"{name}_block", normalization=batch_norm()
        )(x)
    maps["C2"] = norm_activation(x, "last")
    return network(image, maps, classes, weight_decay, "stack_convnet", features_only)


@_document
def stack_mlp(
    input_shape: Sequence[int | None],
    classes: int = 10,
    depth: int = 12,
    width: int = 64,
    skip: Skip = "residual",
    streams: int = 4,
    constraint: Constraint = "birkhoff",
    weight_decay: float = 0.0,
) -> "keras.Model":
    """Perceptron of blocks of two dense layers, with any kind of skip.

    Args:
        input_shape: (height, width, channels).
        depth: Blocks.
        width: Units of each hidden layer.

    Returns:
        A model from float images to logits.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.stacks import stack_mlp
    >>> stack_mlp((8, 8, 1), depth=2, skip="hyper", streams=2).output_shape
    (None, 10)
    """
    import keras

    image = image_input(input_shape)
    if None in image.shape[1:]:
        raise ValueError(f"Expected a fixed input_shape for dense layers. Received: input_shape={input_shape}")
    dense = partial(keras.layers.Dense, positive(width, "width"), kernel_initializer="he_normal")
    dense = partial(dense, kernel_regularizer=decay(weight_decay))
    x = dense(activation="relu", name="stem")(keras.layers.Flatten(name="flatten")(image))
    blocks = [
        [dense(activation="relu", name=f"block{block}_dense1"), dense(name=f"block{block}_dense2")]
        for block in range(1, positive(depth, "depth") + 1)
    ]
    x = _stack(blocks, skip, streams, constraint, "block")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="last_norm")(x)
    return keras.Model(image, head(x, classes, weight_decay), name="stack_mlp")


def _stack(
    blocks: list[Any], skip: Skip, streams: int, constraint: Constraint, name: str, **options: Any
) -> "Callable[[keras.KerasTensor], keras.KerasTensor]":
    from keras_skip import stack

    if skip == "hyper":
        options |= {"streams": streams, "constraint": constraint}
    return stack(blocks, skip, norm="pre", name=name, **options)


_family = partial(Family, input_shape=(8, 8, 1))

FAMILIES = (
    _family(
        stack_encoder,
        "transformer encoder with any kind of skip",
        (Row("stack_encoder", {"depth": 12}, 153_354, 0, 1_182_016),),
    ),
    _family(
        stack_convnet,
        "pre-activation convolutions with any kind of skip",
        (Row("stack_convnet", {"depth": 4}, 412_826, 1_920, 3_696_256),),
    ),
    _family(
        stack_mlp,
        "normalised dense layers with any kind of skip",
        (Row("stack_mlp", {"depth": 12}, 106_314, 0, 103_040),),
    ),
)
