"""The networks of airbench, which reach 94, 95 and 96 % on CIFAR-10 with little computation.

    size     31      15      7       3      of a 32 x 32 image
    stem     2x2 convolution to 24 channels, without padding and with a bias; activation
    stage            w1      w2      w3     convolution, max pooling, normalisation, activation, and then
                                            convolution, normalisation, activation      airbench94, airbench95
                                            a residual block of two convolutions        airbench96
    head     global max pooling, logits without a bias, times 1/9

Only the stem's convolution has a bias, and the normalisations have no scale.

Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024, https://arxiv.org/abs/2404.00498
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...data.augmentation import Augmentation
from ...training.recipe import Optimizer, Recipe, Schedule
from ...weights.naming import plus_one, torch_naming
from .._arguments import document, falling_survival, number, positive, positive_integers
from .._common import batch_norm, decay, head, image_input, network
from ..family import Family, Row, cifar_errors

if TYPE_CHECKING:
    import keras

AIRBENCH = "Jordan 2024, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv 2404.00498"
PATCH = 2  # the side of the patches that the stem sees
STEM = 2 * PATCH * PATCH * 3  # whitened patches of three colours, and their negatives
SMALLEST = 9  # a last map of one pixel
EPSILON = 1e-12
MOMENTUM = 0.85
# The author's names of widths. His code's airbench96 is newer than the paper's.
PLAIN: dict[tuple[int, ...], str] = {(64, 256, 256): "airbench94", (128, 384, 384): "airbench95"}
RESIDUAL: dict[tuple[int, ...], str] = {(128, 384, 512): "airbench96"}

_document = partial(
    document,
    input_shape="(height, width, channels), 9 x 9 or larger; height and width may be None.",
    widths="Channels of the three stages.",
    activation="After each normalisation and after the stem. On a CPU, SiLU and ReLU are faster than the paper's GELU.",
    norm_momentum="Of the moving statistics.",
    scale="Whether the normalisations learn a scale. The paper's are fixed at 1.",
    logit_scale="Factor on the logits.",
)


@_document
def airbench(
    input_shape: Sequence[int | None],
    classes: int = 10,
    widths: Sequence[int] = (64, 256, 256),
    activation: str = "gelu",
    norm_momentum: float = 0.6,
    scale: bool = False,
    logit_scale: float = 1 / 9,
    weight_decay: float = 0.0,
    features_only: bool = False,
) -> "keras.Model":
    """airbench94, airbench95 and their siblings: two convolutions in each stage, and no skips.

    Returns:
        A model from float images to logits, named as by its author, or "airbench" and its widths.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.airbench import airbench
    >>> airbench((32, 32, 3), widths=(8, 16, 16), activation="silu").name
    'airbench_8_16_16'
    """
    norm = _norm(norm_momentum, scale)

    def rest(x: "keras.KerasTensor", filters: int, stage: int) -> "keras.KerasTensor":
        import keras

        x = _convolution(x, filters, f"stage{stage}_conv2", weight_decay)
        x = norm(name=f"stage{stage}_norm2")(x)
        return keras.layers.Activation(activation, name=f"stage{stage}_activation2")(x)

    name = _name(PLAIN, "airbench", widths)
    return _stages(name, input_shape, classes, widths, activation, norm, logit_scale, weight_decay, features_only, rest)


@_document
def airbench_residual(
    input_shape: Sequence[int | None],
    classes: int = 10,
    widths: Sequence[int] = (128, 384, 512),
    blocks: int = 1,
    activation: str = "gelu",
    norm_momentum: float = 0.9,
    scale: bool = False,
    survival_prob: float = 1.0,
    logit_scale: float = 1 / 9,
    weight_decay: float = 0.0,
    features_only: bool = False,
    recompute: bool = False,
) -> "keras.Model":
    """airbench96 and its siblings: each stage has a convolution, then residual blocks of two.

    Args:
        blocks: Residual blocks in each stage; airbench96 has 1, so three convolutions in a stage.
        survival_prob: Probability that the last block is kept in training; it falls linearly from 1.

    Returns:
        A model from float images to logits, named as by its author, or "airbench_residual" and its widths.

    Raises:
        ValueError: For an argument out of range.

    Example:

    >>> from zoo.networks.small_images.airbench import airbench_residual
    >>> airbench_residual((None, None, 3), widths=(8, 16, 16)).name
    'airbench_residual_8_16_16'
    """
    from keras_skip import ResidualBlock

    norm = _norm(norm_momentum, scale)
    survival = falling_survival(survival_prob, 3 * positive(blocks, "blocks"))
    options: dict[str, Any] = {"activation": activation, "recompute": recompute, **_kernels(weight_decay)}

    def rest(x: "keras.KerasTensor", filters: int, stage: int) -> "keras.KerasTensor":
        for block in range(1, blocks + 1):
            name, chance = f"stage{stage}_block{block}", next(survival)
            x = ResidualBlock(filters, normalization=norm(), survival_prob=chance, name=name, **options)(x)
        return x

    name = _name(RESIDUAL if blocks == 1 else {}, "airbench_residual", widths) + (f"_x{blocks}" if blocks > 1 else "")
    return _stages(name, input_shape, classes, widths, activation, norm, logit_scale, weight_decay, features_only, rest)


def _stages(
    name: str,
    input_shape: Sequence[int | None],
    classes: int,
    widths: Sequence[int],
    activation: str,
    norm: "Callable[..., keras.layers.Layer]",
    logit_scale: float,
    weight_decay: float,
    features_only: bool,
    rest: "Callable[[keras.KerasTensor, int, int], keras.KerasTensor]",
) -> "keras.Model":
    """Makes the stem, the beginnings of three stages, and the head; `rest` makes the others."""
    import keras

    image = image_input(input_shape, SMALLEST)
    x = keras.layers.Conv2D(STEM, PATCH, name="stem_conv", **_kernels(weight_decay))(image)
    x = keras.layers.Activation(activation, name="stem_activation")(x)
    maps = {"C0": x}
    for stage, filters in enumerate(widths, 1):
        x = _convolution(x, filters, f"stage{stage}_conv1", weight_decay)
        x = keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool")(x)
        x = norm(name=f"stage{stage}_norm1")(x)
        x = keras.layers.Activation(activation, name=f"stage{stage}_activation1")(x)
        x = maps[f"C{stage}"] = rest(x, filters, stage)

    def top(x: "keras.KerasTensor", classes: int, weight_decay: float) -> "keras.KerasTensor":
        x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
        # Without a bias, scaling the input scales the logits.
        x = keras.layers.Rescaling(number(logit_scale, "logit_scale"), dtype="float32", name="logit_scale")(x)
        return head(x, classes, weight_decay, use_bias=False, kernel_initializer=_kernels(0.0)["kernel_initializer"])

    return network(image, maps, classes, weight_decay, name, features_only, top)


def _name(of_the_paper: dict[tuple[int, ...], str], family: str, widths: Sequence[int]) -> str:
    if not isinstance(widths, (tuple, list)) or len(widths) != 3:
        raise ValueError(f"Expected widths of three stages, such as (64, 256, 256). Received: widths={widths!r}")
    checked = positive_integers(widths, "widths")
    return of_the_paper.get(checked) or "_".join([family, *map(str, checked)])


def _norm(momentum: float, scale: bool) -> "Callable[..., keras.layers.Layer]":
    return partial(batch_norm, momentum=number(momentum, "norm_momentum", 0, 1), epsilon=EPSILON, scale=scale)


def _convolution(x: "keras.KerasTensor", filters: int, name: str, weight_decay: float) -> "keras.KerasTensor":
    import keras

    return keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name, **_kernels(weight_decay))(x)


def _kernels(weight_decay: float) -> dict[str, Any]:
    """Initialiser and regulariser of the kernels: torch's uniform distribution, as in the paper's code."""
    import keras

    initializer = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return {"kernel_initializer": initializer, "kernel_regularizer": decay(weight_decay)}


# The author's code has the scales, fixed at 1.
NAMING = torch_naming(
    "airbench",
    (
        (r"^stem_conv$", "0"),
        (r"^head$", "7"),
        (r"^stage(\d)_block1/(conv|norm)(\d)$", lambda match: f"{int(match[1]) + 1}.{match[2]}{int(match[3]) + 1}"),
        (r"^stage(\d)_((?:conv|norm)\d)$", plus_one("{}.{}")),
    ),
    arguments={"scale": True},
)


def _recipe(epochs: int, lr: float, weight_decay: float, pad: int = 2, cutout: int = 0) -> Recipe:
    """The author's recipe, in whole epochs. He states rate and decay for 1024 images and for a gradient's whole effect,
    which momentum spreads over the steps. His rate starts at 0.2 of the peak and ends at 0.07.
    """
    return Recipe(
        name="",
        network="",
        source="cifar10",
        epochs=epochs,
        batch_size=1024,
        initialization=("dirac", "whitening"),
        optimizer=Optimizer(
            lr=round(lr / (1 + 1 / (1 - MOMENTUM)), 4),
            momentum=MOMENTUM,
            weight_decay=round(weight_decay / lr, 5),
            rates={"*/beta": 64.0},
            lookahead=5,
        ),
        schedule=Schedule(kind="one-cycle", warmup=0.23),
        augment=Augmentation(pad=pad, pad_mode="reflect", flip="alternating", cutout=cutout),
        label_smoothing=0.2,
    )


def _error(percent: str) -> str:
    return f"{cifar_errors(percent)}, six views at test time"


_COMMON: dict[str, Any] = {
    "paper": AIRBENCH,
    "recipe": _recipe(10, 11.5, 0.0153),
    "namings": (NAMING,),
    "anchors": ("stem_conv/kernel", "head/kernel"),
}

FAMILIES = (
    Family(
        airbench,
        "network for small images that trains in few epochs, without skips",
        (
            Row("airbench94", {"widths": (64, 256, 256)}, 1_971_640, 2_304, 118_147_360, _error("5.99")),
            Row(
                "airbench95",
                {"widths": (128, 384, 384)},
                4_604_728,
                3_584,
                301_560_864,
                _error("4.99"),
                _recipe(15, 10.0, 0.0153),
            ),
        ),
        **_COMMON,
    ),
    Family(
        airbench_residual,
        "residual network for small images that trains in few epochs",
        (
            Row(
                "airbench96",
                {"widths": (128, 384, 512)},
                9_915_704,
                6_144,
                451_967_264,
                f"{_error('3.97')} (the author's code)",
                _recipe(37, 9.0, 0.012, 4, 12),
            ),
            # Not in the paper: about as many multiply-adds as airbench94.
            Row(
                "airbench_residual_64_192_256",
                {"widths": (64, 192, 256), "activation": "silu"},
                2_488_120,
                3_072,
                119_843_104,
            ),
        ),
        **_COMMON,
    ),
)
