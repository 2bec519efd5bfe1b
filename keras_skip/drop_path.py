"""DropPath: a layer between a branch and its sum, which drops the update of each sample at random in training.

y = m x / (1 - rate),   m ~ Bernoulli(1 - rate) for each sample
"""

from collections.abc import Sequence
from typing import Any

import keras

from ._base.arguments import Argument, number, optional_int
from ._base.config import PACKAGE, ConfiguredLayer
from ._base.shapes import Shape, Tensor
from ._parts.survival import drop_samples, make_generator


@keras.saving.register_keras_serializable(PACKAGE)
class DropPath(ConfiguredLayer):
    """Sets whole samples of an update to zero in training, and scales up the others to keep the expectation.

        y = m x / (1 - rate) in training, with m ~ Bernoulli(1 - rate) for each sample;    y = x at inference

    You write the branch and the skip: `x + DropPath(0.1)(branch(x))`. The branch is always computed; `StochasticDepth`
    does not compute a layer that it drops.

    Args:
        rate: The drop rate, the probability in [0, 1) that a sample is dropped. At 0 the layer is the identity and
            draws nothing.
        seed: Integer seed of the draws. Default None.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        x: An update of any shape, the batch first. Its mask is passed on.
        training: Whether to drop.

    Output shape:
        The input's.

    Raises:
        ValueError: For arguments out of range.

    Example:

    >>> import keras
    >>> from keras_skip import DropPath
    >>> y = DropPath(0.2, seed=0)(keras.ops.ones((100, 1)), training=True)
    >>> sorted({round(float(value), 2) for value in y[:, 0]})
    [0.0, 1.25]

    References:
        Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382
        Larsson et al., FractalNet, 2017, https://arxiv.org/abs/1605.07648
    """

    ARGUMENTS = {"seed": Argument(None, optional_int)}

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed=seed, **kwargs)
        self.rate = number(rate, "rate", 0.0, 1.0, "[)")
        self.seed_generator = make_generator(self)
        self.supports_masking = True

    @property
    def survival_prob(self) -> float:
        return 1.0 - self.rate

    def call(self, x: Tensor, training: bool | None = None) -> Tensor:
        if not training or self.survival_prob == 1.0:
            return x
        return drop_samples(self, x, gain=1.0 / self.survival_prob)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return tuple(input_shape)
