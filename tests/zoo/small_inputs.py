"""Small inputs and labels for any network of the zoo, and the smallest networks of their forms."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from zoo.networks.catalogue import MODELS
from zoo.networks.imagenet import applications, densenet, resnet
from zoo.networks.segmentation import fc_densenet

# By task: sizes that still show something, of odd sides where the networks take them.
SIDES = {
    "segmentation": (32, 64, 16),
    "volumes": (6, 34, 37),
    "sequences": (40,),
}
SCAN = (30, 34, 37)
# Arguments that make a network cheap to build and to train a step.
SHALLOW = {
    "plain_mlp": {"depth": 3},
    "residual_mlp": {"depth": 4},
    "highway_mlp": {"depth": 3},
    "dense_mlp": {"depth": 3},
    "resnet20": {"depth": 8},
    "plain20": {"depth": 8},
    "stochastic_resnet32": {"depth": 8},
    "preact_resnet20": {"depth": 8},
    "preact_resnet164": {"depth": 11},
    "wrn_16_2": {"depth": 10, "width": 1},
    "densenet_40_12": {"depth": 7},
    "densenet_bc_100_12": {"depth": 10},
    "highway_mnist_16": {"depth": 4},
    "highway_mnist_16_carry": {"depth": 4},
    "airbench94": {"widths": (8, 9, 10)},
    "airbench96": {"widths": (8, 9, 10)},
    "airbench_residual_64_192_256": {"widths": (8, 9, 10)},
    "resnet9": {"width": 4},
    "stack_encoder": {"depth": 1},
    "stack_convnet": {"depth": 1},
    "stack_mlp": {"depth": 1},
    "resnet18": {"depth": 10},
    "seresnet18": {"depth": 10},
    "resnet18d": {"depth": 10},
    "densenet161": {"depth": 121, "growth_rate": 8},
    "convnext_tiny": {"depths": (1, 1, 1, 1), "widths": (8, 9, 10, 11)},
    "r2plus1d_18": {"depth": 10, "input_shape": (4, 16, 16, 3)},
    "resnet3d_10": {"stem_strides": 2},
    "tcn": {"filters": (4, 5), "kernel_size": 3},
    "wavenet": {"filters": 4, "skip_filters": 8, "depth": 3},
    "resnet1d_18": {"depth": 10},
    "recurrent_highway": {"units": 8, "depth": 2},
    "recurrent_highway_text": {"units": 8, "depth": 2},
    "tabular_resnet": {"depth": 1},
    "tabular_highway": {"depth": 1},
    "tabular_densenet": {"depth": 1},
    "unet": {"backbone": "resnet20", "backbone_arguments": {"depth": 8}},
    "unet3d": {"filters": (4, 5, 6)},
    "fc_densenet_56": {"growth_rate": 4},
}


@contextmanager
def few_blocks() -> Iterator[None]:
    """Inside, networks that have no small depth get one or two blocks in each stage, so that they build quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.BOTTLENECK, 50, (2, 2, 2, 2))
        for depth in (50, 101):
            patch.setitem(applications.COUNTS, depth, (2, 2, 2, 2))
        patch.setitem(densenet.LAYERS, 121, (1, 2, 1, 1))
        patch.setitem(fc_densenet.LAYERS, 56, (1,) * 11)
        yield


def small_shape(name):
    """The shape of a small input of a network, channels last."""
    family = MODELS[name].family
    *sides, channels = family.input_shape
    if family.task == "volumes" and len(set(sides)) == 1:  # of a scan; clips have fewer frames than rows
        return (*SCAN, channels)
    if family.task == "classification":
        return (45, 70, channels) if family.classes == 1000 else (9, 14, channels)
    if family.task == "sequences":  # of tokens, there are no channels
        return (*SIDES["sequences"], *family.input_shape[1:])
    return (*SIDES.get(family.task, ())[: len(sides)], channels)


def make_inputs(model, batch=2):
    """Normal noise, or random tokens where the model takes integers, of the model's own size."""
    rng, shape = np.random.default_rng(0), (batch, *model.input_shape[1:])
    if np.issubdtype(model.input.dtype, np.integer):
        return rng.integers(0, min(10, model.output_shape[-1]), shape, "int32")
    return rng.normal(size=shape).astype("float32")


def make_labels(model, batch=2):
    """A class for each vector of logits."""
    *positions, classes = model.output_shape[1:]
    return np.random.default_rng(1).integers(0, classes, (batch, *positions))
