"""Stochastic depth: an update that is sometimes not there.

    drop(f)(x) = b f(x) / p          training, scale="training"
    drop(f)(x) = b f(x)              training, scale="inference"
    drop(f)(x) = f(x), or p f(x)     inference, for the two scales

b is Bernoulli(p), drawn once per mini-batch or once per sample. Drawn per mini-batch, a dropped f is not computed at
all: its statistics and random states stay as they were, and its gradients are zero. The merge that follows is part of
the choice, so that nothing is added, and nothing multiplied, where there is no update.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from ._config import number, one_of
from ._stateless import Stateless

GRANULARITIES = ("batch", "sample")
SCALES = ("training", "inference")


def init_survival(owner: Any, survival_prob: float, granularity: str, scale: str, seed: int | None) -> None:
    """Checks and holds the arguments of stochastic depth on the layer that owns them."""
    owner.survival_prob = number(survival_prob, "survival_prob", 0.0, 1.0, "(]")
    owner.granularity = one_of(granularity, "granularity", GRANULARITIES)
    owner.scale = one_of(scale, "scale", SCALES)
    owner.seed_generator = keras.random.SeedGenerator(seed) if owner.survival_prob < 1.0 else None


def drop(
    owner: Any,
    branch: Callable[[Any], Any],
    x: Any,
    *,
    layers: Iterable[keras.layers.Layer],
    merge: Callable[[Any], Any],
    dropped: Callable[[], Any],
    training: bool | None,
) -> Any:
    """`merge(branch(x))` under the survival probability of `owner`.

    `layers` are those that `branch` runs, whose state must not move when it is dropped; `dropped` makes what `merge`
    would make of an update of zeros, with less work.
    """
    probability = owner.survival_prob
    if probability == 1.0:
        return merge(branch(x))
    if not training:
        return merge(_scaled(branch(x), probability if owner.scale == "inference" else 1.0))
    gain = 1.0 / probability if owner.scale == "training" else 1.0
    if owner.granularity == "sample":
        update = branch(x)
        shape = (ops.shape(update)[0],) + (1,) * (len(update.shape) - 1)
        return merge(_scaled(update * ops.cast(_bernoulli(owner, shape), update.dtype), gain))
    keep = _bernoulli(owner, ())
    return _run_or_skip(owner, keep, lambda inputs: merge(_scaled(branch(inputs), gain)), x, layers, dropped)


def _scaled(update: Any, gain: float) -> Any:
    return update if gain == 1.0 else update * gain


def _bernoulli(owner: Any, shape: tuple) -> Any:
    return keras.random.uniform(shape, dtype="float32", seed=owner.seed_generator) < owner.survival_prob


def _run_or_skip(owner: Any, keep: Any, branch: Callable, x: Any, layers: Iterable, dropped: Callable) -> Any:
    stateless = Stateless(owner, branch, layers, "granularity='sample' allows it.")

    def run() -> tuple:
        return stateless(stateless.values, x)

    def skip() -> tuple:
        y = dropped()
        if keras.backend.backend() == "torch":
            # Elsewhere the weights of a branch that was not run have the gradient zero; torch, which traces nothing,
            # would give them none.
            weights = [stateless.values[i] for i in stateless.trainable]
            y = y + sum(ops.cast(0.0 * ops.ravel(weight)[0], y.dtype) for weight in weights)
        return y, *stateless.unchanged()

    y, state, loss = ops.cond(keep, run, skip)
    stateless.settle(state, loss)
    return y
