"""What all families share: inputs, the papers' initialiser and weight decay, the first and last layers.

Keras and the layers are imported only where a network is built, so that a family's table is read at once.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._arguments import falling_survival, is_positive, number, positive

if TYPE_CHECKING:
    import keras

# Torch's defaults, with which the papers' networks were trained; there the momentum counts the other way round.
NORM = {"momentum": 0.9, "epsilon": 1e-5}
# Filters of the first convolution on small images.
STEM = 16


def channels_first() -> bool:
    """Whether Keras expects (channels, height, width)."""
    import keras

    return keras.config.image_data_format() == "channels_first"


def channel_axis() -> int:
    """The axis of the channels, in the order of `keras.config.image_data_format()`."""
    return 1 if channels_first() else -1


def image_input(input_shape: Sequence[int | None], smallest: int = 1) -> "keras.KerasTensor":
    """Makes the symbolic input of a network of images, grey or colour; see `network_input`."""
    return network_input(input_shape, ("height", "width"), "image", smallest)


def network_input(
    input_shape: Sequence[int | None], dimensions: tuple[str, ...], name: str, smallest: int = 1
) -> "keras.KerasTensor":
    """Makes the symbolic input of a network.

    Args:
        input_shape: Sizes and channels in the order of `keras.config.image_data_format()`; sizes may be None.
        dimensions: What the sizes are called, such as ("height", "width").
        name: The input's.
        smallest: The smallest size allowed.

    Returns:
        A Keras tensor.

    Raises:
        ValueError: For a shape of another rank, or a size that is too small.
    """
    import keras

    shape = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else input_shape
    axes = ("channels", *dimensions) if channels_first() else (*dimensions, "channels")
    wanted = f"({', '.join(axes)})"
    if not isinstance(shape, tuple) or len(shape) != len(axes):
        raise ValueError(f"Expected input_shape={wanted}. Received: input_shape={input_shape!r}")
    sizes_fit = all(size is None or is_positive(size) for size in shape)
    if not sizes_fit or shape[axes.index("channels")] is None:
        raise ValueError(f"Expected input_shape={wanted} of positive integers. Received: input_shape={input_shape!r}")
    x = keras.Input(shape, name=name)
    if any(side is not None and side < smallest for side in sides(x)):
        raise ValueError(
            f"Expected input_shape with sides of at least {smallest}. Received: input_shape={input_shape!r}"
        )
    return x


def sides(x: "keras.KerasTensor") -> tuple[int | None, ...]:
    """The sizes of an input or a map of any rank, without its channels, such as height and width."""
    return tuple(x.shape[2:] if channels_first() else x.shape[1:-1])


def of_rank(x: "keras.KerasTensor", name: str) -> "type[keras.layers.Layer]":
    """The class of a Keras layer for maps of the rank of x: "Conv" gives Conv1D for sequences, Conv2D for images."""
    import keras

    return getattr(keras.layers, f"{name}{len(sides(x))}D")


def block_positions(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yields stage, block and strides of each block, both counted from 1; the first block of a later stage halves."""
    for stage, count in enumerate(counts, 1):
        for block in range(1, count + 1):
            yield stage, block, 2 if stage > 1 and block == 1 else 1


def residual_blocks(counts: Sequence[int], survival_prob: float = 1.0) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yields stage, strides, and the name and survival probability of each block, which fall linearly to the last's."""
    survival = falling_survival(survival_prob, sum(counts))
    for stage, block, strides in block_positions(counts):
        yield stage, strides, {"name": f"stage{stage}_block{block}", "survival_prob": next(survival)}


def decay(weight_decay: float) -> "keras.regularizers.Regularizer | None":
    """The regulariser whose gradient is `weight_decay * w`: l2(d / 2), since l2(x) has the gradient 2xw."""
    import keras

    return keras.regularizers.L2(weight_decay / 2) if number(weight_decay, "weight_decay", 0) else None


def kernels(weight_decay: float) -> dict[str, Any]:
    """The initialiser and regulariser of the convolutions of a block; the block copies the initialiser for each."""
    import keras

    # The papers draw from an untruncated normal with fan-out; "he_normal" is truncated, with fan-in.
    initializer = keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return {"kernel_initializer": initializer, "kernel_regularizer": decay(weight_decay)}


def convolution(
    x: "keras.KerasTensor", filters: int, name: str, weight_decay: float, strides: int = 1, size: int = 3
) -> "keras.KerasTensor":
    """Applies a convolution of any rank outside of a block, without bias, normalisation and activation.

    Its initialiser is its own: one object gives the same values to every layer that has it.
    """
    options = {"padding": "same", "use_bias": False, **kernels(weight_decay)}
    return of_rank(x, "Conv")(filters, size, strides, name=name, **options)(x)


def batch_norm(name: str | None = None, **options: Any) -> "keras.layers.Layer":
    """Makes a batch normalisation of the channels, with the momentum and epsilon of `NORM` unless `options` differ."""
    from keras_skip import BatchNormalization

    return BatchNormalization(axis=channel_axis(), name=name, **{**NORM, **options})


def normalize(x: "keras.KerasTensor", name: str, norm: dict[str, float] = NORM) -> "keras.KerasTensor":
    """Applies batch normalisation, as a layer of its own."""
    return batch_norm(f"{name}_norm", **norm)(x)


def norm_activation(x: "keras.KerasTensor", name: str, norm: dict[str, float] = NORM) -> "keras.KerasTensor":
    """Applies batch normalisation and ReLU, as layers of their own."""
    import keras

    return keras.layers.Activation("relu", name=f"{name}_activation")(normalize(x, name, norm))


def block_norm(norm: dict[str, float] = NORM) -> dict[str, float]:
    """Momentum and epsilon of the normalisations, as a block takes them."""
    return {f"norm_{name}": value for name, value in norm.items()}


def pool_and_head(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
    """Applies global average pooling over sequences, images or volumes, and the dense layer to the logits."""
    return head(of_rank(x, "GlobalAveragePooling")(name="pool")(x), classes, weight_decay)


def head(x: "keras.KerasTensor", classes: int, weight_decay: float, **options: Any) -> "keras.KerasTensor":
    """Applies the dense layer to the logits, in float32 whatever the precision of the network.

    `options` are more arguments of `keras.layers.Dense`.
    """
    import keras

    regularizer = decay(weight_decay)
    return keras.layers.Dense(
        positive(classes, "classes"), kernel_regularizer=regularizer, dtype="float32", name="head", **options
    )(x)


def network(
    image: "keras.KerasTensor",
    maps: "dict[str, keras.KerasTensor]",
    classes: int,
    weight_decay: float,
    name: str,
    features_only: bool,
    top: Callable[..., "keras.KerasTensor"] = pool_and_head,
) -> "keras.Model":
    """Makes the model from the image to the logits, or to the feature maps.

    Args:
        image: The input.
        maps: "C0", "C1", ... and the tensors of stride 2 ** 0, 2 ** 1, ..., the last of which the head sees.
        classes, weight_decay: Of the head.
        name: The model's; that of a model of maps ends in "_features".
        features_only: Whether the head is left out.
        top: Makes logits of the last map, given `classes` and `weight_decay`.

    Returns:
        A model whose output is one tensor, or the dictionary of the maps.
    """
    import keras

    if features_only:
        return keras.Model(image, maps, name=f"{name}_features")
    logits = top(list(maps.values())[-1], classes, weight_decay)
    return keras.Model(image, logits, name=name)


def three_stages(
    name: str,
    input_shape: Sequence[int | None],
    classes: int,
    weight_decay: float,
    features_only: bool,
    blocks: int,
    block: "Callable[[keras.KerasTensor, int, int, str], keras.KerasTensor]",
    preactivated: bool = False,
) -> "keras.Model":
    """Makes a network for small images: a convolution, three stages of which the later two halve the size, the head.

    Args:
        name, input_shape, classes, weight_decay, features_only: As in `network` and `image_input`.
        blocks: How many each stage has.
        block: Applies a block, given the tensor, the stage from 1, the strides and a name.
        preactivated: Whether the blocks normalise first, so that the last normalisation comes before the pooling
            instead of after the convolution.
    """
    image = image_input(input_shape)
    x = convolution(image, STEM, "stem_conv", weight_decay)
    if not preactivated:
        x = norm_activation(x, "stem")
    maps = {}
    for stage, index, strides in block_positions([blocks] * 3):
        x = block(x, stage, strides, f"stage{stage}_block{index}")
        maps[f"C{stage - 1}"] = x
    if preactivated:
        maps["C2"] = norm_activation(x, "last")
    return network(image, maps, classes, weight_decay, name, features_only)
