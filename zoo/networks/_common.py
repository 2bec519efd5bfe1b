"""What all families share: checked arguments, the papers' initialiser and weight decay, the first and last layers.

Keras and the layers are imported only where a network is built, so that a family's table is read at once.
"""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    import keras

# Torch's defaults, with which the papers' networks were trained; there the momentum counts the other way round.
NORM = {"momentum": 0.9, "epsilon": 1e-5}
# Filters of the first convolution on small images.
STEM = 16

# What builders have in common; `document` writes it into their docstrings.
ARGUMENTS = {
    "input_shape": "(height, width, channels); height and width may be None.",
    "classes": "Number of logits.",
    "weight_decay": "Coupled L2 on the kernels.",
    "features_only": "Whether the model ends in its feature maps; see `zoo.build`.",
    "recompute": "Whether only the blocks' inputs are kept for the gradients; see `keras_skip.ResidualBlock`.",
}
Builder = TypeVar("Builder", bound=Callable[..., "keras.Model"])


def document(builder: Builder, **others: str) -> Builder:
    """Adds to a builder's docstring the arguments that it leaves out, in the order of the signature.

    Args:
        builder: Its docstring has a section "Returns:", and one "Args:" if there is something special about one.
        **others: More descriptions than those of `ARGUMENTS`, or different ones.
    """
    if builder.__doc__ is None:  # as under -OO
        return builder
    above, returns, below = builder.__doc__.partition("\n\n    Returns:")
    summary, _, described = above.partition("\n\n    Args:\n")
    entries = {entry.strip().partition(":")[0]: entry for entry in re.split(r"\n(?=        \S)", described)}
    shared = {name: f"        {name}: {text}" for name, text in {**ARGUMENTS, **others}.items()}
    lines = [entries.get(name) or shared[name] for name in inspect.signature(builder).parameters]
    builder.__doc__ = "\n".join([f"{summary}\n\n    Args:", *lines]) + returns + below
    return builder


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
    sizes_fit = all(size is None or _is_positive(size) for size in shape)
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


def positive(value: int, argument: str) -> int:
    """Returns a positive integer as it is; of anything else, raises a ValueError that names the argument."""
    if not _is_positive(value):
        raise ValueError(f"Expected {argument} to be a positive integer. Received: {argument}={value!r}")
    return int(value)


def positive_integers(values: Sequence[int], argument: str) -> tuple[int, ...]:
    """Returns a sequence of positive integers as a tuple; of anything else, raises a ValueError."""
    if not isinstance(values, (tuple, list)) or not values:
        raise ValueError(f"Expected {argument} to be a sequence of positive integers. Received: {argument}={values!r}")
    return tuple(positive(value, argument) for value in values)


def number(value: float, argument: str, low: float = -float("inf"), high: float = float("inf")) -> float:
    """Returns a finite number from `low` to below `high`; of anything else, raises a ValueError that names it."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not low <= value < high:
        raise ValueError(
            f"Expected {argument} to be a finite number in [{low:g}, {high:g}). Received: {argument}={value!r}"
        )
    return value


def one_of(value: Any, argument: str, choices: Iterable[Any]) -> Any:
    """Returns a value that is one of the choices; of any other, raises a ValueError that names the argument."""
    choices = list(choices)
    if value not in choices:
        expected = f"{argument} to be one of {', '.join(map(repr, choices))}"
        raise ValueError(f"Expected {expected}. Received: {argument}={value!r}")
    return value


def blocks_per_stage(depth: int, layers: int, others: int) -> int:
    """Finds the n of depth = layers * n + others; if there is none, a ValueError shows which depths there are."""
    n, rest = divmod(depth - others, layers) if isinstance(depth, int) else (0, 0)
    if n < 1 or rest:
        raise ValueError(
            f"Expected a depth of {layers}n + {others}, such as {3 * layers + others}. Received: depth={depth!r}"
        )
    return n


def block_positions(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yields stage, block and strides of each block, both counted from 1; the first block of a later stage halves."""
    for stage, count in enumerate(counts, 1):
        for block in range(1, count + 1):
            yield stage, block, 2 if stage > 1 and block == 1 else 1


def falling_survival(survival_prob: float, blocks: int) -> Iterator[float]:
    """Yields the survival probability of each block, linearly falling to that of the last."""
    from keras_skip import linear_survival

    try:
        return iter(linear_survival(survival_prob, blocks))
    except ValueError:
        raise ValueError(
            f"Expected survival_prob to be a number in (0, 1]. Received: survival_prob={survival_prob!r}"
        ) from None


def _is_positive(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
