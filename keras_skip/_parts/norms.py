"""Normalisations that a layer makes for itself, by name or as copies of a layer that the user gave.

    norm = make_norm(self, "norm1", shape)      in the owner's build

The owner has `normalization`, `norm_momentum`, `norm_epsilon`, `data_format`, `dtype_policy` and `_sub_layer`.
"""

import math
from typing import Any

import keras
from keras import ops

from .._base.shapes import Shape, Tensor, channel_axis, spatial_axes
from .._base.template import Template
from ..normalization import BatchNormalization

NORMALIZATIONS = {
    "batch": BatchNormalization,
    "layer": keras.layers.LayerNormalization,
    "group": keras.layers.GroupNormalization,
    "rms": keras.layers.RMSNormalization,
}
GROUPS = 32


class _LayerNormalization(keras.layers.LayerNormalization):
    """Keras's own, over axis 1: on torch, Keras up to 3.15 only takes the last axes."""

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.moveaxis(inputs, 1, -1)
        y = ops.layer_normalization(x, self.gamma, self.beta, -1, self.epsilon, rms_scaling=self.rms_scaling)
        return ops.cast(ops.moveaxis(y, -1, 1), self.compute_dtype)


def make_norm(
    owner: keras.layers.Layer, name: str, shape: Shape, *, zero_gamma: bool = False
) -> keras.layers.Layer | None:
    """The sub-layer `name`, not built yet, which normalises inputs of `shape`; None if the owner has none."""
    if owner.normalization is None:
        return None
    if isinstance(owner.normalization, Template):
        template, received = owner.normalization, owner.normalization.cls.__name__
    else:
        template = Template(NORMALIZATIONS[owner.normalization](**_options(owner, shape), name=name))
        received = repr(owner.normalization)
    config, changes = template.config["config"], owner._sub_layer(name)
    axis = channel_axis(owner.data_format, len(shape))
    if axis != len(shape) - 1 and config.get("axis") in (-1, [-1]):
        # By default Keras's normalisations assume that the channels are last.
        if issubclass(template.cls, keras.layers.RMSNormalization):
            raise ValueError(
                "Expected a normalization that can scale an axis other than the last for "
                f"data_format='channels_first'. Received: normalization={received}"
            )
        changes["axis"] = axis
        if template.cls is keras.layers.LayerNormalization and keras.backend.backend() == "torch":
            template = Template(_LayerNormalization.from_config(config))
    if zero_gamma:
        if "gamma_initializer" not in config:
            raise ValueError(
                "Expected a normalization with a gamma_initializer for zero_init_gamma=True. "
                f"Received: normalization={received}"
            )
        changes["gamma_initializer"] = "zeros"
    return template.copy(**changes)


def _options(owner: keras.layers.Layer, shape: Shape) -> dict[str, Any]:
    options: dict[str, Any] = {"epsilon": owner.norm_epsilon}
    if owner.normalization == "batch":
        options["momentum"] = owner.norm_momentum
    if owner.normalization == "group":
        channels: Any = shape[channel_axis(owner.data_format, len(shape))]
        options["groups"] = math.gcd(GROUPS, channels)
        positions = [shape[axis] for axis in spatial_axes(owner.data_format, len(shape))]
        if options["groups"] == channels and all(size == 1 for size in positions):
            raise ValueError(
                f"Expected more than one value in each of the {channels} groups of normalization='group'. "
                f"Received: an input of shape={shape}"
            )
    return options
