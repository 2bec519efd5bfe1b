"""Measures how far a model's own answers move when every number in it is rounded once more.

    noise = max |f(x (1 ± u), w (1 ± u)) - f(x, w)|        signs drawn for each number, u one unit of rounding

Two programs that compute the same network in different orders differ by as much, since rounding an intermediate result
has the same effect as a small change of the inputs. The noise is measured for each output and channel, so it finds the
scale of values that cancel, saturate or are tiny. An integer or boolean that moves depends on rounding, and other
programs need not agree with it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..storage.arrays import Batch
from .channels import count_channels, split_channels

if TYPE_CHECKING:
    import keras

# One rounding in each type.
UNITS = {"float32": 2.0**-23, "float16": 2.0**-11, "bfloat16": 2.0**-8}
_DRAWS = 2


@dataclass(frozen=True)
class Noise:
    """The noise of answers.

    Attributes:
        floats: The largest change in each channel, by output of floats.
        unsettled: Masks of the integers and booleans that changed, by batch and output.
    """

    floats: dict[str, np.ndarray]
    unsettled: dict[str, dict[str, np.ndarray]]


def measure_noise(
    run: Callable[[Batch], Batch],
    model: "keras.Model",
    inputs: Mapping[str, Batch],
    expected: Mapping[str, Batch],
    unit: float,
    seed: int,
) -> Noise:
    """Measures how far answers move.

    Args:
        run: Computes the answers for a batch.
        model: The Keras model that it runs.
        inputs: Batches by name.
        expected: The answers without additional rounding.
        unit: One unit of rounding.
        seed: The seed of the signs.

    Returns:
        The noise.
    """
    generator = np.random.default_rng(seed)
    first = next(iter(expected.values()))
    channels = {output: count_channels(batch[output] for batch in expected.values()) for output in first}
    floats = {output for output, y in first.items() if y.dtype.kind == "f"}
    moved = {output: np.zeros(channels[output]) for output in floats}
    unsettled: dict[str, dict[str, np.ndarray]] = {name: {} for name in inputs}
    for _ in range(_DRAWS):
        with _perturb_weights(model, unit, generator):
            answers = {name: run(_perturb_batch(batch, unit, generator)) for name, batch in inputs.items()}
        for name, given in answers.items():
            for output, y in given.items():
                before = expected[name][output]
                if output in floats:
                    change = _largest_change(before, y, channels[output])
                    moved[output] = np.maximum(moved[output], change)
                elif y.shape == before.shape and (y != before).any():
                    unsettled[name][output] = unsettled[name].get(output, False) | (y != before)
    return Noise(moved, {name: masks for name, masks in unsettled.items() if masks})


def _largest_change(before: np.ndarray, after: np.ndarray, channels: int) -> np.ndarray:
    """Returns the largest finite change in each channel."""
    if before.shape != after.shape:
        return np.zeros(channels)
    with np.errstate(invalid="ignore"):
        change = np.abs(after.astype("float64") - before.astype("float64"))
    return np.max(split_channels(np.where(np.isfinite(change), change, 0.0), channels), axis=0, initial=0.0)


def _perturb_batch(batch: Batch, unit: float, generator: np.random.Generator) -> Batch:
    return {name: _perturb(x, unit, generator) if x.dtype.kind == "f" else x for name, x in batch.items()}


def _perturb(values: np.ndarray, unit: float, generator: np.random.Generator) -> np.ndarray:
    signs = generator.integers(0, 2, values.shape, dtype=np.int8) * 2.0 - 1.0
    return (values * (1 + unit * signs)).astype(values.dtype)


@contextmanager
def _perturb_weights(model: "keras.Model", unit: float, generator: np.random.Generator) -> Iterator[None]:
    """Runs a model with rounded weights, and leaves its variables unchanged."""
    import keras

    floats = [weight for weight in model.variables if keras.backend.is_float_dtype(weight.dtype)]
    values = [
        (weight, keras.ops.convert_to_tensor(_perturb(weight.numpy(), unit, generator), weight.dtype))
        for weight in floats
    ]
    with keras.StatelessScope(state_mapping=values):
        yield
