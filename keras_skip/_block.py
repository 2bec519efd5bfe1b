"""What all blocks share: the sub-layers they are made of, for an input of any rank, and how these run under a mask.

An input of rank r has r - 2 spatial dimensions: none gives dense layers, one to three give convolutions.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypedDict

import keras
from keras import ops

from ._config import layer_or_name, number, one_of, optional_int, own_initializer
from ._sub_layers import SubLayers
from .normalization import BatchNormalization

Shape = tuple[int | None, ...]
CONVOLUTIONS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


class BlockOptions(TypedDict, total=False):
    """The options that every block takes, by keyword."""

    use_bias: Any
    activation: Any
    normalization: Any
    norm_momentum: float
    norm_epsilon: float
    dropout: float
    spatial_dropout: bool
    kernel_initializer: Any
    bias_initializer: Any
    kernel_regularizer: Any
    bias_regularizer: Any
    kernel_constraint: Any
    bias_constraint: Any
    data_format: str | None
    seed: int | None
    name: str | None
    dtype: Any
    trainable: bool
    activity_regularizer: Any


class Block(SubLayers):
    """Makes convolutions, normalisations and dropouts for an input of any rank, and runs them under a mask."""

    OPTIONS_DOC = """
    use_bias: Whether the convolutions have a bias; a sequence gives one value for each convolution of the branch, and
        a projection takes the last. Default False.
    activation: Name or function. Default "relu".
    normalization: "batch", None, or a layer (with its configuration) that is copied for each place; its axis -1 means
        the channels, with either data_format. Default "batch".
    norm_momentum, norm_epsilon: Momentum (of the moving statistics) and epsilon of "batch". Defaults 0.99 and 1e-3,
        Keras's own.
    dropout: Rate in [0, 1) of the dropout inside the branch. Default 0.
    spatial_dropout: Whether dropout drops whole channels instead of single elements. Default False.
    kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: As
        in `keras.layers.Conv2D`, for every convolution. Each convolution draws its own initial values. Defaults
        "he_normal", "zeros", None.
    data_format: "channels_last" or "channels_first". Default: `keras.config.image_data_format()`.
    seed: Integer seed of what is random in training. Default None.
    **kwargs: `name`, `dtype`, `trainable`, `activity_regularizer`, as in every Keras layer.
    """

    def __init__(
        self,
        *,
        use_bias: Any = False,
        activation: Any = "relu",
        normalization: Any = "batch",
        norm_momentum: float = 0.99,
        norm_epsilon: float = 1e-3,
        dropout: float = 0.0,
        spatial_dropout: bool = False,
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(activation, keras.layers.Layer):
            raise ValueError(f"Expected activation to be a name or a function. Received: activation={activation!r}")
        self.use_bias = tuple(bool(b) for b in use_bias) if isinstance(use_bias, (tuple, list)) else bool(use_bias)
        self.activation = keras.activations.get(activation)
        self._norm_class: type | None = None
        if normalization is not None and normalization != "batch":
            # Copies are made of it. Held as an object, it would be a sub-layer without a use.
            template = layer_or_name(normalization, "normalization", ("batch", None))
            self._norm_class, normalization = type(template), keras.saving.serialize_keras_object(template)
        self.normalization = normalization
        self.norm_momentum = number(norm_momentum, "norm_momentum", 0.0, 1.0, "[)")
        self.norm_epsilon = number(norm_epsilon, "norm_epsilon", 0.0)
        self.dropout = number(dropout, "dropout", 0.0, 1.0, "[)")
        self.spatial_dropout = bool(spatial_dropout)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)
        self.bias_constraint = keras.constraints.get(bias_constraint)
        data_format = keras.config.image_data_format() if data_format is None else data_format
        self.data_format = one_of(data_format, "data_format", ("channels_last", "channels_first"))
        self.seed = optional_int(seed, "seed")
        self.supports_masking = True

    def _check_biases(self, convolutions: int) -> None:
        if isinstance(self.use_bias, tuple) and len(self.use_bias) != convolutions:
            raise ValueError(
                f"Expected use_bias with one entry for each of the branch's {convolutions} convolutions. "
                f"Received: use_bias={self.use_bias}"
            )

    # Shapes

    def _enter(self, input_shape: Any) -> tuple[Shape, int]:
        """The input's shape and number of channels, both checked; from here on the block expects inputs like it."""
        shape, channels = self._read(input_shape)
        axes = {self._channel_axis(shape): channels}
        self.input_spec = keras.layers.InputSpec(ndim=len(shape), axes=axes)
        return shape, channels

    def _read(self, input_shape: Any) -> tuple[Shape, int]:
        shape = tuple(input_shape)
        if not 2 <= len(shape) <= 5:
            raise ValueError(
                "Expected an input of rank 2 to 5: (B, C), (B, T, C), (B, H, W, C) or (B, D, H, W, C). "
                f"Received: input_shape={shape}"
            )
        channels = shape[self._channel_axis(shape)]
        if channels is None:
            raise ValueError(f"Expected the channel dimension to be defined. Received: input_shape={shape}")
        return shape, channels

    def _channel_axis(self, shape: Shape) -> int:
        return 1 if self.data_format == "channels_first" else len(shape) - 1

    def _spatial_axes(self, shape: Shape) -> range:
        first = 2 if self.data_format == "channels_first" else 1
        return range(first, first + len(shape) - 2)

    def _strided(self, shape: Shape, strides: Any, channels: int) -> Shape:
        """The shape after a convolution that keeps the size but for its strides."""
        steps = as_tuple(strides, len(shape) - 2, "strides", shape)
        out = list(shape)
        for axis, step in zip(self._spatial_axes(shape), steps, strict=True):
            size = shape[axis]
            out[axis] = None if size is None else -(-size // step)
        out[self._channel_axis(shape)] = channels
        return tuple(out)

    # Sub-layers

    def _add_conv(
        self,
        name: str,
        shape: Shape,
        filters: int,
        kernel_size: Any = 1,
        strides: Any = 1,
        *,
        place: int = -1,
        **own: Any,
    ) -> Shape:
        rank = len(shape) - 2
        options: dict[str, Any] = {
            "use_bias": self.use_bias[place] if isinstance(self.use_bias, tuple) else self.use_bias,
            "kernel_initializer": own_initializer(self.kernel_initializer, name),
            "bias_initializer": own_initializer(self.bias_initializer, name + "/bias"),
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "kernel_constraint": self.kernel_constraint,
            "bias_constraint": self.bias_constraint,
        }
        if rank > 0:
            options |= {"kernel_size": kernel_size, "strides": strides, "data_format": self.data_format}
            options |= self._padding_options(rank, kernel_size, strides)
        # Explicit padding is added in the call, so an input smaller than the kernel is no error: sizes stay open here.
        spatial = self._spatial_axes(shape)
        open_shape = tuple(None if axis in spatial else size for axis, size in enumerate(shape))
        self._add(name, CONVOLUTIONS[rank](filters, **(options | own), **self._sub_layer(name)), open_shape)
        return self._strided(shape, strides, filters)

    def _padding_options(self, rank: int, kernel_size: Any, strides: Any) -> dict[str, Any]:
        return {"padding": "same"}

    def _add_norm(self, name: str, shape: Shape, *, zero_gamma: bool = False) -> None:
        if self.normalization is None:
            setattr(self, name, None)
            return
        axis = self._channel_axis(shape)
        axis = -1 if axis == len(shape) - 1 else axis
        if self._norm_class is None:
            layer = BatchNormalization(
                axis=axis,
                momentum=self.norm_momentum,
                epsilon=self.norm_epsilon,
                gamma_initializer="zeros" if zero_gamma else "ones",
                **self._sub_layer(name),
            )
        else:
            layer = self._copied_norm(self._norm_class, name, zero_gamma, axis)
        self._add(name, layer, shape)

    def _copied_norm(self, cls: Any, name: str, zero_gamma: bool, axis: int = -1) -> keras.layers.Layer:
        config = {**self.normalization["config"], "name": name}
        config["dtype"] = keras.saving.serialize_keras_object(self.dtype_policy)
        if axis != -1 and config.get("axis") in (-1, [-1]):
            # By default Keras's normalisations take the last axis for the channels.
            if issubclass(cls, keras.layers.RMSNormalization):
                raise ValueError(
                    "Expected a normalization that can scale an axis other than the last for "
                    f"data_format='channels_first'. Received: normalization={cls.__name__}"
                )
            config["axis"] = axis
        if zero_gamma:
            if "gamma_initializer" not in config:
                raise ValueError(
                    "Expected a normalization with a gamma_initializer for zero_init_gamma=True. "
                    f"Received: normalization={cls.__name__}"
                )
            config["gamma_initializer"] = "zeros"
        return cls.from_config(config)

    def _add_dropout(self, name: str, shape: Shape, place: int = 0) -> None:
        if self.dropout == 0.0:
            setattr(self, name, None)
            return
        noise_shape = None
        if self.spatial_dropout:
            spatial = self._spatial_axes(shape)
            noise_shape = tuple(1 if axis in spatial else None for axis in range(len(shape)))
        seed = None if self.seed is None else self.seed + 1 + place
        layer = keras.layers.Dropout(self.dropout, noise_shape=noise_shape, seed=seed, **self._sub_layer(name))
        self._add(name, layer, shape)

    def _sub_layer(self, name: str) -> dict[str, Any]:
        return {"name": name, "dtype": self.dtype_policy}

    # Running them. A mask says which steps of a sequence are real; the others are zero wherever a kernel could see
    # them.

    def _masked_input(self, x: Any, mask: Any) -> tuple[Any, Any]:
        mask = self._sequence_mask(x, mask)
        return (x, None) if mask is None else (masked(x, mask), mask)

    def _sequence_mask(self, x: Any, mask: Any) -> Any:
        if mask is None or len(x.shape) != 3:
            return None
        if self.data_format == "channels_first":
            raise ValueError(
                "Expected data_format='channels_last' for a masked sequence. Received: data_format='channels_first'"
            )
        return mask

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        return self._sequence_mask(inputs, mask)


def as_tuple(value: Any, rank: int, argument: str = "", shape: Shape = ()) -> tuple[int, ...]:
    """One entry for each spatial dimension."""
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        raise ValueError(
            f"Expected {argument} with {rank} entries for an input of shape {shape}. Received: {argument}={value}"
        )
    return tuple(value)


def masked(x: Any, mask: Any) -> Any:
    """A sequence (B, T, C) with zeros where the mask (B, T) is False."""
    return ops.where(ops.expand_dims(ops.cast(mask, "bool"), -1), x, ops.zeros_like(x))


def output_shape(layer: keras.layers.Layer, shape: Shape) -> Shape:
    """The shape of a built layer's output, also for layers that do not state it."""
    return layer.compute_output_spec(keras.KerasTensor(shape, layer.compute_dtype)).shape


def apply(layer: keras.layers.Layer | None, x: Any, training: Any = None, mask: Any = None) -> Any:
    """`layer(x)` with as much of the context as the layer takes; an absent layer is the identity."""
    if layer is None:
        return x
    context = {"training": training, "mask": mask}
    return layer(x, **{name: context[name] for name in _context_arguments(type(layer).call)})


@functools.cache
def _context_arguments(call: Callable) -> tuple[str, ...]:
    taken = inspect.signature(call).parameters
    return tuple(name for name in ("training", "mask") if name in taken)
