"""Stochastic depth: an update that training drops at random.

    drop(f)(x) = b f(x) / p          training, scale="training"
    drop(f)(x) = b f(x)              training, scale="inference"
    drop(f)(x) = f(x), or p f(x)     inference, for the two scales

b is Bernoulli(p), drawn once per mini-batch or once per sample. Drawn per mini-batch, a dropped f is not computed at
all: its statistics and random states stay as they were, and its gradients are zero. With granularity "rows", f is
computed for k = max(1, floor(p B)) of the B rows, drawn anew in each step, and B / k takes the place of 1 / p.

The conditional includes the sum that follows, so that a dropped update costs neither a product nor a sum.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence

import keras
from keras import ops

from .._base.arguments import Argument, number, one_of
from .._base.shapes import Tensor
from .._base.stateless import Stateless
from .recompute import is_in_xla, run_or_skip_in_xla
from .rows import add_rows, choose_rows, fill_rows, split_rows, take_rows

GRANULARITIES = ("batch", "sample", "rows")
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
    branch: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    *,
    layers: Iterable[keras.layers.Layer],
    training: bool | None,
    skip: Tensor | None = None,
    zeros: Callable[[], Tensor] | None = None,
    gate: Tensor | None = None,
    gain: float = 1.0,
) -> Tensor:
    """`skip + gate * gain * drop(branch(*inputs))`, under the survival probability of `owner`.

    `layers` are those that `branch` runs, whose state must not move when it is dropped. Without a skip the
    update alone is returned, and `zeros` makes a dropped one. All tensors have the examples along their first axis.
    """
    probability = owner.survival_prob

    def merge(update: Tensor) -> Tensor:
        update = update if gate is None else gate * update
        return update if skip is None else skip + update

    if probability == 1.0:
        return merge(_scale(branch(*inputs), gain))
    if not training:
        return merge(_scale(branch(*inputs), gain * (probability if owner.scale == "inference" else 1.0)))
    if owner.granularity == "rows":
        return _run_rows(owner, branch, inputs, skip, gate, gain)
    gain = gain / probability if owner.scale == "training" else gain
    if owner.granularity == "sample":
        return merge(drop_samples(owner, branch(*inputs), gain))
    keep = _bernoulli(owner, ())
    nothing = zeros or (lambda: ops.zeros_like(skip))
    if _is_dynamic_in_xla(inputs):
        stateless = Stateless(owner, lambda *inputs: _scale(branch(*inputs), gain), layers, ADVICE)
        floats = list(itertools.takewhile(_is_float, inputs))  # a mask of floats can follow
        y, state, loss = run_or_skip_in_xla(stateless, keep, floats, inputs[len(floats) :], nothing)
        stateless.commit(state, loss)
        return merge(y)
    stateless = Stateless(owner, lambda *inputs: merge(_scale(branch(*inputs), gain)), layers, ADVICE)
    dropped = nothing if skip is None else lambda: skip
    return _run_or_skip(stateless, keep, inputs, dropped, () if gate is None else (gate,))


def _is_dynamic_in_xla(inputs: Sequence[Tensor | None]) -> bool:
    dynamic = any(None in x.shape for x in inputs if x is not None)
    return dynamic and keras.backend.backend() == "tensorflow" and is_in_xla()


def _is_float(x: Tensor | None) -> bool:
    return x is not None and "float" in keras.backend.standardize_dtype(x.dtype)


def drop_samples(owner: keras.layers.Layer, update: Tensor, gain: float) -> Tensor:
    """`gain * b * update`, with a draw b for each sample under the survival probability of `owner`."""
    shape = (ops.shape(update)[0],) + (1,) * (len(update.shape) - 1)
    return _scale(update * ops.cast(_bernoulli(owner, shape), update.dtype), gain)


def _run_rows(
    owner: keras.layers.Layer,
    branch: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    skip: Tensor | None,
    gate: Tensor | None,
    gain: float,
) -> Tensor:
    rows, made_up = choose_rows(inputs[0], owner.survival_prob, owner.seed_generator)
    first, *others = inputs
    if skip is first:
        skip, taken = split_rows(first, rows)
    else:
        taken = take_rows(first, rows)
    update = branch(taken, *(take_rows(x, rows) for x in others))
    update = _scale(update, gain * made_up if owner.scale == "training" else gain)
    update = update if gate is None else take_rows(gate, rows) * update
    return fill_rows(inputs[0], rows, update) if skip is None else add_rows(skip, rows, update)


def _scale(update: Tensor, gain: Tensor | float) -> Tensor:
    if isinstance(gain, float):
        return update if gain == 1.0 else update * gain
    return update * ops.cast(gain, update.dtype)


def _bernoulli(owner: keras.layers.Layer, shape: tuple) -> Tensor:
    return keras.random.uniform(shape, dtype="float32", seed=owner.seed_generator) < owner.survival_prob


def _run_or_skip(
    stateless: Stateless, keep: Tensor, inputs: Sequence[Tensor | None], dropped: Callable, gates: Sequence[Tensor]
) -> Tensor:
    def run() -> tuple:
        return stateless(stateless.values, *inputs)

    def skip() -> tuple:
        weights = [stateless.variables[i] for i in stateless.trainable]
        values = [stateless.values[i] for i in stateless.trainable]
        # A float8 layer learns its scales by assigning them their gradient: these must stay unchanged.
        stays = [getattr(weight, "overwrite_with_gradient", False) for weight in weights]
        read = [x for x in inputs if x is not None]
        y = _add_gradients(dropped(), [*read, *gates, *values], [False] * (len(read) + len(gates)) + stays)
        return y, *stateless.unchanged()

    y, state, loss = ops.cond(keep, run, skip)
    stateless.commit(state, loss)
    return y


def _add_gradients(y: Tensor, inputs: list, stays: list[bool]) -> Tensor:
    """Gives `y` gradients for inputs that it does not depend on: zeros, or the input itself where it `stays`.

    A traced conditional has such gradients for inputs that only its other branch reads; eager code has none.
    """
    given_by = zip(inputs, stays, strict=True)
    pairs = [(x, same) for x, same in given_by if _is_float(x)]

    @ops.custom_gradient
    def given(y: Tensor, *inputs: Tensor) -> tuple:
        def gradient(*args: Tensor, upstream: Tensor | None = None) -> tuple:
            dy = args[0] if upstream is None else upstream
            return dy, *(x if same else ops.zeros_like(x) for x, (_, same) in zip(inputs, pairs, strict=True))

        return ops.copy(y), gradient

    return given(y, *(x for x, _ in pairs))
