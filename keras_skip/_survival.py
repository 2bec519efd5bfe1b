"""Stochastic depth: an update that is sometimes not there.

    drop(f)(x) = b f(x) / p          training, scale="training"
    drop(f)(x) = b f(x)              training, scale="inference"
    drop(f)(x) = f(x), or p f(x)     inference, for the two scales

b is Bernoulli(p), drawn once per mini-batch or once per sample. Drawn per mini-batch, a dropped f is not computed at
all: its statistics and random states stay as they were, and its gradients are zero.
"""

from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from ._config import number, one_of

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
    zeros: Callable[[], Any],
    training: bool | None,
) -> Any:
    """`branch(x)` under the survival probability of `owner`.

    `layers` are those that `branch` runs, whose state must not move when it is dropped; `zeros` makes the update of a
    dropped branch.
    """
    probability = owner.survival_prob
    if probability == 1.0:
        return branch(x)
    if not training:
        update = branch(x)
        return update * probability if owner.scale == "inference" else update
    gain = 1.0 / probability if owner.scale == "training" else 1.0
    if owner.granularity == "sample":
        update = branch(x)
        shape = (ops.shape(update)[0],) + (1,) * (len(update.shape) - 1)
        return update * ops.cast(_bernoulli(owner, shape), update.dtype) * gain
    keep = _bernoulli(owner, ())
    return _run_or_skip(owner, keep, lambda inputs: branch(inputs) * gain, x, layers, zeros)


def _bernoulli(owner: Any, shape: tuple) -> Any:
    return keras.random.uniform(shape, dtype="float32", seed=owner.seed_generator) < owner.survival_prob


def _run_or_skip(owner: Any, keep: Any, branch: Callable, x: Any, layers: Iterable, zeros: Callable) -> Any:
    # An assignment inside a conditional escapes it on JAX and happens on both sides elsewhere. So the branch runs
    # without side effects, on state that is passed in, and returns its new state, which is assigned here.
    variables = list({id(v): v for layer in layers for v in layer.variables}.values())
    values = [ops.convert_to_tensor(v.value) for v in variables]
    # Under mixed precision a float weight is read in the compute type: it could not be written back without loss.
    mixed = owner.compute_dtype != owner.variable_dtype
    state = [
        i
        for i, (v, value) in enumerate(zip(variables, values, strict=True))
        if not v.trainable and not (mixed and keras.backend.standardize_dtype(value.dtype) == owner.compute_dtype)
    ]
    trainable = [i for i, v in enumerate(variables) if v.trainable]
    had_losses = []

    def run() -> tuple:
        scope = keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True)), collect_losses=True)
        before = [scope.get_current_value(v) for v in variables]
        with scope:
            update = branch(x)
        after = [scope.get_current_value(v) for v in variables]
        for i, variable in enumerate(variables):
            if i not in state and after[i] is not before[i]:
                raise ValueError(
                    "Expected a branch that changes only its non-trainable state in training (float state under mixed "
                    f"precision needs add_weight(autocast=False)). Received: {variable.path} changes; "
                    "granularity='sample' allows it."
                )
        if scope.losses:
            had_losses.append(True)
        loss = sum((ops.cast(ops.sum(loss), "float32") for loss in scope.losses), ops.zeros((), "float32"))
        return update, [ops.cast(after[i], variables[i].dtype) for i in state], loss

    def skip() -> tuple:
        update = zeros()
        if keras.backend.backend() == "torch":
            # Elsewhere the weights of a branch that was not run have the gradient zero; torch, which traces nothing,
            # would give them none.
            update = update + sum(ops.cast(0.0 * ops.ravel(values[i])[0], update.dtype) for i in trainable)
        return update, [values[i] for i in state], ops.zeros((), "float32")

    update, new_state, loss = ops.cond(keep, run, skip)
    for i, value in zip(state, new_state, strict=True):
        variables[i].assign(value)
    if had_losses:
        owner.add_loss(loss)
    return update
