"""Chooses the fastest precision that holds, measured in a few steps of the real network on a batch of the real data.

A precision holds if the loss after these steps is finite and if, at the initial weights, all outputs y are near those
of float32: |y - y32| <= BOUND * max |y32|. It is chosen if a step takes at most 1 / SPEEDUP of float32's time.

Training sets all seeds again afterwards, so the run is the same as one that asks for this precision.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..data import Source
from ..devices.selection import Devices
from .learner import precision
from .recipe import Recipe

BOUND, SPEEDUP = 0.1, 1.05
# The first steps compile.
WARM_UP, STEPS = 2, 5


def choose_precision(
    recipe: Recipe, source: Source, devices: Devices, initial: keras.Model | None = None
) -> tuple[Recipe, dict[str, Any]]:
    """Chooses the precision of a recipe that says "auto".

    Args:
        recipe: The recipe.
        source: The data.
        devices: The devices of the run.
        initial: A user's own model, whose layers have a precision already.

    Returns:
        The recipe with the precision, and the figures that decided.
    """
    reason = None
    if initial is not None:
        reason = "a model of your own has the precision of its layers"
    elif devices.count > 1:
        reason = "it is measured on one device only"
    if reason:
        return replace(recipe, precision="float32"), {"asked": "auto", "chosen": "float32", "reason": reason}
    names = ("float32", "mixed_float16" if devices.kind == "gpu" else "mixed_bfloat16")
    measured: dict[str, dict[str, Any]] = {}
    outputs: dict[str, np.ndarray] = {}
    for name in names:
        measured[name], outputs[name] = _measure(replace(recipe, precision=name), source, devices)
        scale = float(np.abs(outputs["float32"]).max())
        difference = float(np.abs(outputs[name] - outputs["float32"]).max()) / (scale or 1.0)
        # NaN is not near.
        measured[name] |= {"difference": difference, "holds": measured[name].pop("finite") and difference <= BOUND}
    fastest = names[1]
    faster = measured[fastest]["seconds_per_step"] * SPEEDUP <= measured["float32"]["seconds_per_step"]
    chosen = fastest if faster and measured[fastest]["holds"] else "float32"
    for figures in measured.values():
        if not np.isfinite(figures["difference"]):
            figures["difference"] = None  # JSON has no NaN
    return replace(recipe, precision=chosen), {
        "asked": "auto",
        "chosen": chosen,
        "bound": BOUND,
        "speedup": SPEEDUP,
        "measured": measured,
    }


def _measure(recipe: Recipe, source: Source, devices: Devices) -> tuple[dict[str, Any], np.ndarray]:
    """Times the steps in one precision; also returns the outputs at the initial weights."""
    from .loop import Training

    with precision(recipe.precision), devices.scope():
        training = Training(Path(os.devnull), recipe, source, devices)
        inputs, *targets = devices.feed(training.batches, recipe.accumulate)[0]
        outputs = keras.ops.convert_to_numpy(keras.ops.cast(training.model(inputs, training=False), "float32"))
        seconds = []
        for _ in range(WARM_UP + STEPS):
            started = time.perf_counter()
            loss = training.learner.train_on_batch(inputs, *targets)
            seconds.append(time.perf_counter() - started)
    finite = bool(np.isfinite(np.ravel(loss)[0]))
    return {"seconds_per_step": round(min(seconds[WARM_UP:]), 6), "finite": finite}, outputs
