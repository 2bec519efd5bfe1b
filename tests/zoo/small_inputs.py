"""Small inputs and labels for any network of the zoo."""

import numpy as np

from zoo.networks.catalogue import MODELS

# By task: sizes that still show something, of odd sides where the networks take them.
SIDES = {
    "segmentation": (32, 64, 16),
    "volumes": (6, 34, 37),
    "sequences": (40,),
}
SCAN = (30, 34, 37)


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
