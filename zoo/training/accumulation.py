"""Gradient accumulation: a step on a batch in parts, one after the other, so that memory holds one part's activations.

    g = (g_1 + ... + g_k) / k          of k parts of the same size; then one step of the optimizer

The result is that of the whole batch up to rounding, except for layers that look at several examples: a batch
normalisation uses the statistics of each part, and its moving averages move k times. Masks with ignored pixels
are another exception, since the loss of a part is the mean over the pixels that count in it. Part j has the examples
j, j + k, j + 2k, ..., so that each of several devices has a share of every part.

The parts are called in a `keras.StatelessScope`, since neither a loop of TensorFlow under `tf.distribute` nor one of
JAX may assign variables.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

# Values of variables, gradients, or results that are kept of each part.
Tensors = list[Any]


class Accumulation:
    """Takes the training steps of a compiled network.

    Args:
        model: The network.
        parts: k. The size of each batch is a multiple of k.
    """

    def __init__(self, model: keras.Model, parts: int) -> None:
        self.model, self.parts = model, parts

    def step_on_tensorflow(self, data: Any) -> dict[str, Any]:
        """Takes the place of Keras's `train_step` on TensorFlow."""
        import tensorflow as tf

        model = self.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        values = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
        before = [tf.convert_to_tensor(v.value) for v in model.non_trainable_variables]
        changed: dict[int, bool] = {}

        def differentiate(others: Tensors, part: Tensors) -> tuple[Tensors, Tensors, Tensors]:
            with tf.GradientTape() as tape:
                tape.watch(values)
                scaled, (loss, predicted, after) = self._forward(values, others, [], part)
            changed.update((place, new is not old) for place, (new, old) in enumerate(zip(after, others, strict=True)))
            return tape.gradient(scaled, values), after, [loss, predicted]

        gradients, others, (losses, predicted) = self._loop(differentiate, values, before, (x, y, weights))
        for place, variable in enumerate(model.non_trainable_variables):
            if changed[place]:
                variable.assign(others[place])
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        model.metrics[0].update_state(ops.mean(losses) * replicas, sample_weight=ops.shape(x)[0])
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return model.compute_metrics(x, y, self._join(predicted), weights)

    def step_on_jax(self, state: Any, data: Any) -> tuple[dict[str, Any], Any]:
        """Takes the place of Keras's `train_step` on JAX."""
        import jax

        model = self.model
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        values, others, of_optimizer, of_metrics = state

        def differentiate(others: Tensors, part: Tensors) -> tuple[Tensors, Tensors, Tensors]:
            forward = jax.value_and_grad(self._forward, has_aux=True)
            (_, (loss, predicted, after)), gradients = forward(values, others, of_optimizer, part)
            return gradients, after, [loss, predicted]

        gradients, others, (losses, predicted) = self._loop(differentiate, values, others, (x, y, weights))
        values, of_optimizer = model.optimizer.stateless_apply(of_optimizer, gradients, values)
        with keras.StatelessScope([*zip(model.metrics_variables, of_metrics, strict=True)]) as scope:
            model.metrics[0].update_state(ops.mean(losses), sample_weight=x.shape[0])
            logs = model.compute_metrics(x, y, self._join(predicted), weights)
        of_metrics = [scope.get_current_value(v) for v in model.metrics_variables]
        return logs, (values, others, of_optimizer, of_metrics)

    def _forward(self, values: Tensors, others: Tensors, of_optimizer: Tensors, part: Tensors) -> tuple[Any, Any]:
        """The scaled loss of a part; and its loss, the predictions and the new values of the other variables."""
        model, (x, y, weights) = self.model, part
        pairs = [*zip(model.trainable_variables, values, strict=True)]
        pairs += zip(model.non_trainable_variables, others, strict=True)
        pairs += zip(model.optimizer.variables, of_optimizer, strict=False)
        with keras.StatelessScope(pairs, collect_losses=True) as scope:
            predicted = model(x, training=True)
            loss = model.compute_loss(x, y, predicted, weights)
            scaled = model.optimizer.scale_loss(loss)
        after = [scope.get_current_value(v) for v in model.non_trainable_variables]
        return scaled, (loss, ops.cast(predicted, "float32"), after)

    def _loop(
        self, differentiate: Callable[..., Any], values: Tensors, others: Tensors, data: Sequence[Any]
    ) -> tuple[Tensors, Tensors, Tensors]:
        """The mean gradients of all parts, the last values of the other variables, and what was kept of each part."""
        parts = [self._split(array) for array in data]

        def add(carry: tuple[Tensors, Tensors], part: Tensors) -> tuple[tuple[Tensors, Tensors], Tensors]:
            sums, others = carry
            gradients, others, kept = differentiate(others, part)
            sums = [s if g is None else s + g for s, g in zip(sums, gradients, strict=True)]
            return (sums, others), kept

        carry = [ops.zeros_like(value) for value in values], list(others)
        (sums, others), kept = SCANS[keras.backend.backend()](add, carry, parts, self.parts)
        return [total / self.parts for total in sums], others, kept

    def _split(self, array: Any) -> Any:
        """Moves the parts to a new first axis."""
        return ops.swapaxes(ops.reshape(array, (-1, self.parts, *ops.shape(array)[1:])), 0, 1)

    def _join(self, parts: Any) -> Any:
        """Undoes `_split`."""
        return ops.reshape(ops.swapaxes(parts, 0, 1), (-1, *ops.shape(parts)[2:]))


def _scan_on_tensorflow(add: Callable[..., Any], carry: Any, parts: Tensors, count: int) -> tuple[Any, Tensors]:
    """`jax.lax.scan` for two float32 results; `keras.ops.scan` needs results with the shapes of the carry."""
    import tensorflow as tf

    def body(place: Any, carry: Any, kept: Tensors) -> tuple[Any, Any, Tensors]:
        carry, made = add(carry, [part[place] for part in parts])
        return place + 1, carry, [array.write(place, one) for array, one in zip(kept, made, strict=True)]

    kept = [tf.TensorArray("float32", count), tf.TensorArray("float32", count)]
    # One part at a time: several in parallel would need the memory of several.
    _, carry, kept = tf.while_loop(
        lambda place, *_: place < count, body, (tf.constant(0), carry, kept), parallel_iterations=1
    )
    return carry, [array.stack() for array in kept]


def _scan_on_jax(add: Callable[..., Any], carry: Any, parts: Tensors, count: int) -> tuple[Any, Tensors]:
    import jax

    return jax.lax.scan(add, carry, parts, length=count)


SCANS = {"tensorflow": _scan_on_tensorflow, "jax": _scan_on_jax}


def check_backend(parts: int) -> None:
    """Raises a ValueError for several parts on a backend that has no loop for them."""
    backend = keras.backend.backend()
    if parts > 1 and backend not in SCANS:
        raise ValueError(f"Expected accumulate=1 on the {backend} backend. Received: accumulate={parts}")
