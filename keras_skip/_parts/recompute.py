"""Recomputation: a branch keeps no values on its way to its output, and computes them again for its gradient.

    forward     y = f(x)          x, the weights and y are kept, and nothing in between
    backward    f(x) once more, and from it the gradients

Random states and moving statistics are values that come in and go out, so that both runs draw alike and the statistics
move once.

Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016, https://arxiv.org/abs/1604.06174
Pleiss et al., Memory-Efficient Implementation of DenseNets, 2017, https://arxiv.org/abs/1707.06990
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
from keras import ops

from .._base.shapes import Tensor
from .._base.stateless import Stateless


def recompute(
    owner: keras.layers.Layer,
    branch: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    masks: Sequence[Tensor | None] = (),
    *,
    layers: Iterable[keras.layers.Layer],
    parts: Sequence[Tensor] = (),
    axis: int = -1,
) -> Tensor:
    """`branch(*inputs, *masks)`, computed again for the gradients of the inputs and of the weights.

    `layers` are those that `branch` runs. `parts`, whose concatenation along `axis` is the only input, are kept in its
    place, and are concatenated again.
    """
    stateless = Stateless(owner, branch, layers, "recompute=False allows it.")

    def join(kept: Sequence[Tensor]) -> list[Tensor]:
        return [ops.concatenate(kept, axis=axis)] if len(parts) > 1 else list(kept)

    run = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}[keras.backend.backend()]
    y, state, loss = run(stateless, tuple(inputs), tuple(masks), tuple(parts) or tuple(inputs), join)
    stateless.commit(state, loss)
    return y


def _on_tensorflow(
    stateless: Stateless,
    inputs: tuple,
    masks: tuple,
    parts: tuple,
    join: Callable,
    choose: Callable[[Callable, Callable], tuple] = lambda run, skip: run(),
    zeros: Callable[[], Tensor] = lambda: None,
) -> tuple:
    """Output, state and loss; `choose` says whether the branch runs, and `zeros` gives the output if it does not."""
    import tensorflow as tf

    given = [mask for mask in masks if mask is not None]
    learned = stateless.trainable
    stays = [getattr(stateless.variables[i], "overwrite_with_gradient", False) for i in learned]

    def split(others: tuple) -> tuple[list, list]:
        left = iter(others)
        return [None if mask is None else next(left) for mask in masks], list(left)

    # All values of variables are arguments. The gradient of an input goes to the input, not to its parts: it is summed
    # from layer to layer, so only one such sum is in memory at a time.
    @tf.custom_gradient
    def run(*arguments: Tensor) -> tuple:
        inputs, others = arguments[: len(arguments) - rest], arguments[len(arguments) - rest :]
        masks, values = split(others)

        def gradient(dy: Tensor, *others: Tensor) -> tuple:
            again = join(_delay(dy, parts))
            weights = [values[i] for i in learned]

            def run_again() -> list:
                with tf.GradientTape() as tape:
                    tape.watch([*again, *weights])
                    y, _, loss = _call_in_training(stateless, values, again, masks)
                return tape.gradient([y, loss], [*again, *weights], [dy, others[-1]], "zero")

            def skip() -> list:
                kept = [value if same else tf.zeros_like(value) for value, same in zip(weights, stays, strict=True)]
                return [*(tf.zeros_like(x) for x in again), *kept]

            found = choose(run_again, skip)
            dvalues = dict(zip(learned, found[len(again) :], strict=True))
            return (*found[: len(again)], *(None for _ in given), *(dvalues.get(i) for i in range(len(values))))

        y, state, loss = choose(lambda: stateless(values, *inputs, *masks), lambda: (zeros(), *stateless.unchanged()))
        return (y, *state, loss), gradient

    # The current values: eager mode passes variables, which have changed by the time the branch runs again.
    values = [tf.convert_to_tensor(value) for value in stateless.values]
    rest = len(given) + len(values)
    y, *state, loss = run(*inputs, *given, *values)
    return y, state, loss


def run_or_skip_in_xla(
    stateless: Stateless, keep: Tensor, inputs: Sequence[Tensor], masks: Sequence, zeros: Callable[[], Tensor]
) -> tuple:
    """Output, state and loss of a branch that runs if `keep` is true, and is computed again for its gradient.

    XLA cannot differentiate a conditional of TensorFlow if a size is unknown: the conditional would have to return
    shapes that the branch computes.
    """

    def choose(run: Callable, skip: Callable) -> tuple:
        return ops.cond(keep, run, skip)

    return _on_tensorflow(stateless, tuple(inputs), tuple(masks), tuple(inputs), list, choose, zeros)


def is_in_xla() -> bool:
    """Whether XLA will compile what TensorFlow is tracing."""
    import tensorflow as tf
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

    return GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


class _Caller(keras.layers.Layer):
    """Calls a function as a layer calls its sub-layers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_masking = True

    def compute_mask(self, inputs: list[Tensor], previous_mask: Any = None) -> None:
        """No mask: the owner computes that of the output, and the state and the loss have none."""

    def call(self, inputs: list[Tensor], function: Callable[..., Tensor], training: bool | None = None) -> Tensor:
        return function(*inputs)


def _call_in_training(stateless: Stateless, values: list, inputs: Sequence[Tensor], masks: Sequence) -> tuple:
    """Calls `stateless` within a layer's call, since the owner's call is over when the gradient is computed.

    Layers that do not take `training` hand on that of the call around them.
    """
    caller = _Caller(name="again", dtype=stateless.owner.dtype_policy)
    return caller(list(inputs), function=lambda *inputs: stateless(values, *inputs, *masks), training=True)


def _delay(dy: Tensor, parts: tuple) -> list:
    """The parts, but only when dy is there: else what follows would run at once, or be taken for the forward run."""
    import tensorflow as tf

    if is_in_xla():
        from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_optimization_barrier

        # XLA knows no control dependencies, and merges equal operations unless such a barrier is between them.
        return xla_optimization_barrier([*parts, dy])[:-1]
    with tf.control_dependencies([dy]):
        return [tf.identity(part) for part in parts]


def _on_jax(stateless: Stateless, inputs: tuple, masks: tuple, parts: tuple, join: Callable) -> tuple:
    import jax

    return jax.checkpoint(lambda values, kept: stateless(values, *join(kept), *masks))(stateless.values, parts)


def _on_torch(stateless: Stateless, inputs: tuple, masks: tuple, parts: tuple, join: Callable) -> tuple:
    from torch.utils import checkpoint

    # An assignment writes into the tensor itself, so values that it will overwrite are copied for the second run.
    values = [value.clone() if i in stateless.state else value for i, value in enumerate(stateless.values)]
    # torch stops early by an exception, which Keras would wrap.
    with checkpoint.set_checkpoint_early_stop(False):
        return checkpoint.checkpoint(
            lambda values, kept: _call_in_training(stateless, values, join(kept), masks),
            values,
            parts,
            use_reentrant=False,
            preserve_rng_state=True,  # Keras's dropout without a seed draws from torch's own generator
        )
