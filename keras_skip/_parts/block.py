"""What all blocks share: the options of their sub-layers, and how they read an input of any rank and its mask."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypedDict

import keras

from .._base.arguments import Argument, annotate, boolean, number, one_of, optional_int
from .._base.config import ConfiguredLayer
from .._base.shapes import Shape, Tensor, channel_axis
from .._base.template import Template, template_or_name
from .chain import apply_mask, sequence_mask
from .norms import NORMALIZATIONS
from .recompute import recompute

Initializer: TypeAlias = str | dict[str, Any] | keras.initializers.Initializer
Regularizer: TypeAlias = str | dict[str, Any] | keras.regularizers.Regularizer | None
Constraint: TypeAlias = str | dict[str, Any] | keras.constraints.Constraint | None


class BlockOptions(TypedDict, total=False):
    """The options that every block takes, by keyword."""

    use_bias: bool | Sequence[bool]
    activation: str | Callable[[Tensor], Tensor] | dict[str, Any] | keras.layers.Layer | None
    normalization: str | dict[str, Any] | keras.layers.Layer | None
    norm_momentum: float
    norm_epsilon: float
    dropout: float
    spatial_dropout: bool
    kernel_initializer: Initializer
    bias_initializer: Initializer
    kernel_regularizer: Regularizer
    bias_regularizer: Regularizer
    kernel_constraint: Constraint
    bias_constraint: Constraint
    data_format: str | None
    seed: int | None
    name: str | None
    dtype: str | dict[str, Any] | keras.DTypePolicy | None
    trainable: bool
    activity_regularizer: Regularizer


def _biases(value: bool | Sequence[bool], argument: str) -> bool | tuple[bool, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(boolean(entry, argument) for entry in value)
    return boolean(value, argument)


def activation_function(value: Any, argument: str) -> Callable[[Tensor], Tensor]:
    if isinstance(value, (keras.layers.Layer, type)):
        raise ValueError(f"Expected {argument} to be a name or a function. Received: {argument}={value!r}")
    return keras.activations.get(value)


def _activation(value: Any, argument: str) -> Callable[[Tensor], Tensor] | Template:
    if isinstance(value, type):
        raise ValueError(f"Expected {argument} to be a name, a function or a layer. Received: {argument}={value!r}")
    given = value if isinstance(value, Template) else keras.activations.get(value)
    return Template(given) if isinstance(given, keras.layers.Layer) else given


def _data_format(value: str | None, argument: str) -> str:
    value = keras.config.image_data_format() if value is None else value
    return one_of(value, argument, ("channels_last", "channels_first"))


BLOCK_ARGUMENTS = annotate(
    {
        "use_bias": Argument(False, _biases),
        "activation": Argument("relu", _activation),
        "normalization": Argument(
            "batch", lambda value, argument: template_or_name(value, argument, (*NORMALIZATIONS, None))
        ),
        "norm_momentum": Argument(0.99, lambda value, argument: number(value, argument, 0.0, 1.0, "[)")),
        "norm_epsilon": Argument(1e-3, lambda value, argument: number(value, argument, 0.0)),
        "dropout": Argument(0.0, lambda value, argument: number(value, argument, 0.0, 1.0, "[)")),
        "spatial_dropout": Argument(False, boolean),
        "kernel_initializer": Argument("he_normal", lambda value, argument: keras.initializers.get(value)),
        "bias_initializer": Argument("zeros", lambda value, argument: keras.initializers.get(value)),
        "kernel_regularizer": Argument(None, lambda value, argument: keras.regularizers.get(value)),
        "bias_regularizer": Argument(None, lambda value, argument: keras.regularizers.get(value)),
        "kernel_constraint": Argument(None, lambda value, argument: keras.constraints.get(value)),
        "bias_constraint": Argument(None, lambda value, argument: keras.constraints.get(value)),
        "data_format": Argument(None, _data_format),
        "seed": Argument(None, optional_int),
    },
    BlockOptions,
)

KERNEL_ARGUMENTS = {
    name: BLOCK_ARGUMENTS[name]
    for name in (
        "kernel_initializer",
        "bias_initializer",
        "kernel_regularizer",
        "bias_regularizer",
        "kernel_constraint",
        "bias_constraint",
        "data_format",
    )
}

KERNEL_OPTIONS_DOC = """
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: As
        in `keras.layers.Dense`. Defaults "he_normal", "zeros", None.
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.
    """


class SkipLayer(ConfiguredLayer):
    """A layer for inputs of any rank with a channel axis, which makes its own normalisations."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def _enter(self, input_shape: Sequence[int | None]) -> tuple[Shape, int]:
        """The input's shape and number of channels, both checked; from here on the block expects inputs like it."""
        shape, channels = self._read(input_shape)
        axes = {channel_axis(self.data_format, len(shape)): channels}
        self.input_spec = keras.layers.InputSpec(ndim=len(shape), axes=axes)
        return shape, channels

    def _read(self, input_shape: Sequence[int | None]) -> tuple[Shape, int]:
        shape = tuple(input_shape)
        if any(isinstance(size, (list, tuple)) for size in shape):
            raise ValueError(f"Expected one tensor as the input. Received: tensors of shapes {list(shape)}")
        if not 2 <= len(shape) <= 5:
            raise ValueError(
                "Expected an input of rank 2 to 5: (B, C), (B, T, C), (B, H, W, C) or (B, D, H, W, C). "
                f"Received: input_shape={shape}"
            )
        channels = shape[channel_axis(self.data_format, len(shape))]
        if channels is None:
            raise ValueError(f"Expected the channel dimension to be defined. Received: input_shape={shape}")
        return shape, channels

    def _mask_input(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        mask = sequence_mask(x, mask, self.data_format)
        return apply_mask(x, mask), mask


class Block(SkipLayer):
    """A layer made of chains of convolutions, normalisations and dropouts, which accepts a mask for sequences."""

    ARGUMENTS = BLOCK_ARGUMENTS
    OPTIONS_DOC = """
    use_bias: Whether the convolutions have a bias; a sequence gives one value for each convolution of the branch. A
        projection takes the last of them, or a further one of its own. Default False.
    activation: Name, function, or a layer (or its configuration) that is copied for each use, such as
        `keras.layers.PReLU()`; each copy learns its own weights. Default "relu".
    normalization: "batch", "layer" (over the channels of each position), "group" (over all positions, masked ones too,
        in gcd(32, channels) groups), "rms" (over the channels, without a mean; not with channels_first), None, or a
        layer (or its configuration) that is copied for each use; its axis -1 means the channels, with either
        data_format. Default "batch".
    norm_momentum, norm_epsilon: Momentum of the moving statistics of "batch", and epsilon of a normalization given by
        name. Defaults 0.99 and 1e-3, Keras's own for "batch".
    dropout: Rate in [0, 1) of the dropout inside the branch. Default 0.
    spatial_dropout: Whether dropout drops whole channels instead of single elements. Default False.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: As
        in `keras.layers.Conv2D`, for every convolution. Each convolution draws its own initial values. Defaults
        "he_normal", "zeros", None.
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    seed: Integer seed of the draws in training. Default None.
    **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.
    """

    def _check_biases(self, convolutions: int, projections: int = 0) -> None:
        counts = range(convolutions, convolutions + projections + 1)
        if isinstance(self.use_bias, tuple) and len(self.use_bias) not in counts:
            raise ValueError(
                f"Expected use_bias with one entry for each of the branch's {convolutions} convolutions"
                f"{', and at most one for the projection' if projections else ''}. "
                f"Received: use_bias={self.use_bias}"
            )

    def call(self, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        x, mask = self._mask_input(x, mask)
        if training and getattr(self, "recompute", False):  # an argument of the blocks that have a branch
            return recompute(self, lambda x, mask: self._run(x, training, mask), [x], [mask], layers=[self])
        return self._run(x, training, mask)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return sequence_mask(inputs, mask, self.data_format)
