"""Stochastic depth: an update that training drops at random.

    drop(f)(x) = b f(x) / p          training, scale="training"
    drop(f)(x) = b f(x)              training, scale="inference"
    drop(f)(x) = f(x), or p f(x)     inference, for the two scales

b is Bernoulli(p), drawn once per mini-batch or once per sample. Drawn per mini-batch, a dropped f is not computed at
all: its statistics and random states stay as they were, and its gradients are zero. The merge that follows is part of
the choice, so that nothing is added, and nothing multiplied, where there is no update.
"""

from collections.abc import Callable, Iterable, Sequence

import keras
from keras import ops

from ._arguments import Argument, number, one_of
from ._shapes import Tensor
from ._stateless import Stateless

GRANULARITIES = ("batch", "sample")
SCALES = ("training", "inference")
ADVICE = "granularity='sample' allows it."


SURVIVAL_ARGUMENTS = {
    "survival_prob": Argument(1.0, lambda value, argument: number(value, argument, 0.0, 1.0, "(]")),
    "granularity": Argument("batch", lambda value, argument: one_of(value, argument, GRANULARITIES)),
    "scale": Argument("training", lambda value, argument: one_of(value, argument, SCALES)),
}


def make_generator(owner: keras.layers.Layer) -> keras.random.SeedGenerator | None:
    """The generator from which `owner` draws whether its branch survives, where it can be dropped."""
    return keras.random.SeedGenerator(owner.seed) if owner.survival_prob < 1.0 else None


def drop(
    owner: keras.layers.Layer,
    branch: Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    layers: Iterable[keras.layers.Layer],
    merge: Callable[[Tensor], Tensor],
    dropped: Callable[[], Tensor],
    training: bool | None,
    unread: Sequence[Tensor] = (),
) -> Tensor:
    """`merge(branch(x))` under the survival probability of `owner`.

    `layers` are those that `branch` runs, whose state must not move when it is dropped. `dropped` returns the value of
    `merge` for an update of zeros, with less work; it reads every tensor that `merge` reads except `unread`.
    """
    probability = owner.survival_prob
    if probability == 1.0:
        return merge(branch(x))
    if not training:
        return merge(_scale(branch(x), probability if owner.scale == "inference" else 1.0))
    gain = 1.0 / probability if owner.scale == "training" else 1.0
    if owner.granularity == "sample":
        return merge(drop_samples(owner, branch(x), gain))
    keep = _bernoulli(owner, ())
    stateless = Stateless(owner, lambda inputs: merge(_scale(branch(inputs), gain)), layers, ADVICE)
    return _run_or_skip(stateless, keep, x, dropped, unread)


def drop_samples(owner: keras.layers.Layer, update: Tensor, gain: float) -> Tensor:
    """`gain * b * update`, with a draw b for each sample under the survival probability of `owner`."""
    shape = (ops.shape(update)[0],) + (1,) * (len(update.shape) - 1)
    return _scale(update * ops.cast(_bernoulli(owner, shape), update.dtype), gain)


def _scale(update: Tensor, gain: float) -> Tensor:
    return update if gain == 1.0 else update * gain


def _bernoulli(owner: keras.layers.Layer, shape: tuple) -> Tensor:
    return keras.random.uniform(shape, dtype="float32", seed=owner.seed_generator) < owner.survival_prob


def _run_or_skip(stateless: Stateless, keep: Tensor, x: Tensor, dropped: Callable, unread: Sequence[Tensor]) -> Tensor:
    def run() -> tuple:
        return stateless(stateless.values, x)

    def skip() -> tuple:
        weights = [stateless.variables[i] for i in stateless.trainable]
        values = [stateless.values[i] for i in stateless.trainable]
        # A float8 layer learns its scales by assigning them their gradient: these must stay unchanged.
        stays = [getattr(weight, "overwrite_with_gradient", False) for weight in weights]
        y = _add_gradients(dropped(), [x, *unread, *values], [False] * (1 + len(unread)) + stays)
        return y, *stateless.unchanged()

    y, state, loss = ops.cond(keep, run, skip)
    stateless.commit(state, loss)
    return y


def _add_gradients(y: Tensor, inputs: list, stays: list[bool]) -> Tensor:
    """Gives `y` gradients for inputs that it does not depend on: zeros, or the input itself where it `stays`.

    A traced conditional has such gradients for inputs that only its other branch reads; eager code has none.
    """
    given_by = zip(inputs, stays, strict=True)
    pairs = [(x, same) for x, same in given_by if "float" in keras.backend.standardize_dtype(x.dtype)]

    @ops.custom_gradient
    def given(y: Tensor, *inputs: Tensor) -> tuple:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple:
            dy = args[0] if upstream is None else upstream
            return dy, *(x if same else ops.zeros_like(x) for x, (_, same) in zip(inputs, pairs, strict=True))

        return ops.copy(y), gradient

    return given(y, *(x for x, _ in pairs))
