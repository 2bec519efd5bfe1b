"""Stochastic depth: training drops whole updates, and inference keeps all of them.

y = drop(layer(x))        p_l = 1 - l / L * (1 - p_L)
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import Argument, Size, layer_or_name, number, optional_int, positive_int
from ._base.config import PACKAGE, ConfiguredLayer
from ._base.shapes import Shape, Tensor, output_shape
from ._parts.chain import apply
from ._parts.shortcut import ShortcutArgument
from ._parts.survival import SURVIVAL_ARGUMENTS, drop, make_generator
from .residual import ResidualBlock


@keras.saving.register_keras_serializable(PACKAGE)
class StochasticDepth(ConfiguredLayer):
    """Wraps any layer and drops its output, the update, with probability 1 - survival_prob in training.

        y = b layer(x) / p in training, with b ~ Bernoulli(p);    y = layer(x) at inference

    The skip around it is yours: `x + StochasticDepth(layer, 0.8)(x)`.

    Args:
        layer: The layer; it takes one tensor and gives one.
        survival_prob: p in (0, 1].
        granularity: "batch" draws once per mini-batch: a dropped layer is not computed, and its statistics do not
            move. "sample" draws for each example. "rows" runs the layer on k = max(1, floor(p B)) of the B examples,
            drawn anew in each step, and gives zeros for the others: BatchNormalization inside sees only the k.
            Default "batch".
        scale: "training" divides a surviving update by p, or multiplies it by B / k in "rows"; "inference" multiplies
            by p at inference instead, as the paper does. Default "training".
        seed: Integer seed of the draws. Default None.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        x: The layer's input.
        training: Whether to drop.
        mask: Passed on to the layer if it takes one.

    Output shape:
        The layer's.

    Raises:
        ValueError: For arguments out of range; in `build`, if granularity "batch" meets a layer whose output has a
            dynamic size that is not the input's.

    Example:

    >>> import keras
    >>> from keras_skip import StochasticDepth
    >>> x = keras.ops.ones((2, 16))
    >>> (x + StochasticDepth(keras.layers.Dense(16), survival_prob=0.8)(x)).shape == (2, 16)
    True

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
    """

    ARGUMENTS = SURVIVAL_ARGUMENTS | {"seed": Argument(None, optional_int)}

    def __init__(
        self,
        layer: keras.layers.Layer,
        survival_prob: float,
        granularity: str = "batch",
        *,
        scale: str = "training",
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(survival_prob=survival_prob, granularity=granularity, scale=scale, seed=seed, **kwargs)
        self.layer = layer_or_name(layer, "layer", ())
        self.seed_generator = make_generator(self)
        self.supports_masking = self.layer.supports_masking

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tuple(input_shape)
        self._build_inside(self.layer, shape)
        self._known_shapes = shape, self.compute_output_shape(shape)
        if self.survival_prob < 1.0 and self.granularity == "batch":
            self._check_dynamic_sizes(shape)

    def _check_dynamic_sizes(self, shape: Shape) -> None:
        # A dropped update is zeros of a shape that must be known without running the layer.
        for size in (64, 96):
            probe = tuple(size if dim is None else dim for dim in shape)
            try:
                given = self.compute_output_shape(probe)
            except Exception:  # of a layer of any kind, such as a table of positions that is shorter than the probe
                given = probe
            for axis, dim in enumerate(self.compute_output_shape(shape)):
                if dim is None and (axis >= len(shape) or given[axis] != probe[axis]):
                    raise ValueError(
                        "Expected a layer that keeps its input's dynamic sizes, static sizes, or granularity='sample'. "
                        f"Received: {self.layer.name} on input_shape={shape}"
                    )

    def call(self, x: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        def branch(x: Tensor, mask: Tensor | None) -> Tensor:
            return ops.cast(apply(self.layer, x, training, mask), self.compute_dtype)

        return drop(self, branch, (x, mask), layers=[self.layer], training=training, zeros=lambda: self._zeros(x))

    def _zeros(self, x: Tensor) -> Tensor:
        shape, static = self._known_shapes
        if tuple(x.shape[1:]) != shape[1:]:
            # Not always: while Keras trains on JAX, variables lack the values that a trace of the layer would read.
            static = self.compute_output_shape(x.shape)
        dynamic = ops.shape(x)
        sizes = [dynamic[axis] if dim is None or axis == 0 else dim for axis, dim in enumerate(static)]
        return ops.zeros(sizes, dtype=self.compute_dtype)

    def compute_mask(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor | None:
        return self.layer.compute_mask(inputs, mask)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return output_shape(self.layer, tuple(input_shape))


@keras.saving.register_keras_serializable(PACKAGE)
class StochasticDepthBlock(ResidualBlock):
    """A `ResidualBlock` whose branch is dropped in training.

        y = activation(shortcut(x) + drop(branch(x)))

    Args:
        filters: Output channels.
        kernel_size: Size of the kernels, one integer or one for each spatial dimension. On (B, C)
            there is none. Default 3.
        strides: Down-sampling of the block. Default 1.
        shortcut: As in `ResidualBlock`.
        survival_prob: Probability in (0, 1] that a training step keeps the branch. Default 0.8.
        {options}

    Call arguments, output shape and errors: as in `ResidualBlock`.

    Example:

    >>> from keras_skip import StochasticDepthBlock, linear_survival
    >>> blocks = [StochasticDepthBlock(16, survival_prob=p) for p in linear_survival(0.5, num_blocks=3)]

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size | None = None,
        strides: Size = 1,
        shortcut: ShortcutArgument = "projection",
        *,
        survival_prob: float = 0.8,
        **options: Any,
    ) -> None:
        super().__init__(filters, kernel_size, strides, shortcut, survival_prob=survival_prob, **options)


def linear_survival(final: float, num_blocks: int) -> list[float]:
    """The survival probabilities of a network's blocks, falling linearly from its input to its output.

        p_l = 1 - l / L * (1 - p_L),   l = 1 ... L

    Args:
        final: p_L in (0, 1], the survival probability of the last block.
        num_blocks: L.

    Returns:
        The list p_1 ... p_L. Even the first block can drop.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> linear_survival(0.5, 4)
    [0.875, 0.75, 0.625, 0.5]

    Reference:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
    """
    final = number(final, "final", 0.0, 1.0, "(]")
    num_blocks = positive_int(num_blocks, "num_blocks")
    return [1.0 - index / num_blocks * (1.0 - final) for index in range(1, num_blocks + 1)]
