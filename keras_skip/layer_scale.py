"""LayerScale: a learned factor for each channel of an update, small or zero at the start.

y = gamma x
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ._base.arguments import number, optional_int
from ._base.config import PACKAGE, ConfiguredLayer
from ._base.shapes import Shape, Tensor


@keras.saving.register_keras_serializable(PACKAGE)
class LayerScale(ConfiguredLayer):
    """Multiplies an update by learned factors, one for each channel or a single one.

        y = gamma x,   gamma = init at the start

    With a small `init`, the block `x + LayerScale()(branch(x))` starts close to its skip. `LayerScale(0.0, axis=None)`
    is the scalar of ReZero and SkipInit, with which the block starts as exactly its skip.

    Args:
        init: Initial value of gamma, any finite number. Default 1e-5.
        axis: The axis along which gamma has a factor for each index, usually that of the channels; None for a single
            factor. Default -1.
        **kwargs: `name`, `dtype`, `trainable`, as in every Keras layer.

    Call arguments:
        x: An update of any shape, the batch first. Its mask is passed on.

    Output shape:
        The input's.

    Raises:
        ValueError: For arguments out of range; in `build`, if the input does not have the axis or its size is unknown.

    Example:

    >>> import keras
    >>> from keras_skip import LayerScale
    >>> y = LayerScale(init=0.5)(keras.ops.ones((2, 8, 3)))
    >>> bool(keras.ops.all(y == 0.5))
    True

    References:
        Touvron et al., Going Deeper with Image Transformers, 2021, https://arxiv.org/abs/2103.17239
        Bachlechner et al., ReZero is All You Need, 2020, https://arxiv.org/abs/2003.04887
        De & Smith, Batch Normalization Biases Residual Blocks Towards the Identity, 2020,
        https://arxiv.org/abs/2002.10444
    """

    def __init__(self, init: float = 1e-5, axis: int | None = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init = number(init, "init")
        self.axis = optional_int(axis, "axis")
        self.supports_masking = True

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = () if self.axis is None else (self._read_size(tuple(input_shape), self.axis),)
        start = keras.initializers.Constant(self.init)
        self.gamma = self.add_weight(shape=shape, initializer=start, name="gamma")

    def _read_size(self, shape: Shape, axis: int) -> int:
        rank = len(shape)
        if not -rank < axis < rank or axis == 0:
            raise ValueError(
                "Expected axis to be an axis of the input other than the batch's. "
                f"Received: axis={axis}, input_shape={shape}"
            )
        size = shape[axis]
        if size is None:
            raise ValueError(f"Expected the size of the axis to be defined. Received: axis={axis}, input_shape={shape}")
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes={axis: size})
        return size

    def call(self, x: Tensor) -> Tensor:
        if self.axis is None:
            return x * self.gamma
        behind = -1 - self.axis if self.axis < 0 else len(x.shape) - 1 - self.axis
        return x * ops.reshape(self.gamma, (-1,) + (1,) * behind)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Shape:
        return tuple(input_shape)
