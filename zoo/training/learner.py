"""The network while it is trained: the same layers with loss, optimizer and, if asked for, moving averages.

It is a second model over the same layers, so that the saved network has none of these.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from .recipe import Recipe
from .schedules import Rate


class Learner(keras.Model):
    """A network that keeps moving averages: after the step n, average = d * average + (1 - d) * value, where
    d = min(decay, (1 + n) / (10 + n)). Only weights and normalisation statistics are averaged.
    """

    averages: Sequence[keras.Variable] = ()

    def keep_averages(self, decay: float) -> None:
        """Starts the averages at the current values. Call it once, before `compile`."""
        self.decay = decay
        self.averaged = [v for v in self.variables if keras.backend.is_float_dtype(v.dtype)]
        self.averages = [
            self.add_weight(v.shape, "zeros", dtype=v.dtype, trainable=False, name=f"average{index}")
            for index, v in enumerate(self.averaged)
        ]
        self.steps = self.add_weight((), "zeros", dtype="int32", trainable=False, name="averaged_steps")
        for average, value in zip(self.averages, self.averaged, strict=True):
            # A copy: JAX refuses a step whose state holds one buffer twice.
            average.assign(ops.copy(value.value))

    def swap(self) -> None:
        """Exchanges the values and their averages."""
        for average, value in zip(self.averages, self.averaged, strict=True):
            before = ops.copy(value.value)
            value.assign(average.value)
            average.assign(before)

    def train_step(self, *args: Any) -> Any:
        if keras.backend.backend() == "jax":
            logs, state = super().train_step(*args)
            return logs, self._average_state(state) if self.averages else state
        logs = super().train_step(*args)
        if self.averages:
            steps, averages = self._next_averages(self.steps, self.averages, self.averaged)
            self.steps.assign(steps)
            for variable, average in zip(self.averages, averages, strict=True):
                variable.assign(average)
        return logs

    def _average_state(self, state: Any) -> Any:
        """Updates the averages in the state of a step on JAX, which lists values in the order of the variables."""
        trainable, others, *rest = state
        now = {id(v): value for v, value in zip(self.trainable_variables, trainable, strict=True)}
        now |= {id(v): value for v, value in zip(self.non_trainable_variables, others, strict=True)}
        averages, averaged = ([now[id(v)] for v in group] for group in (self.averages, self.averaged))
        steps, averages = self._next_averages(now[id(self.steps)], averages, averaged)
        now |= {id(v): value for v, value in zip(self.averages, averages, strict=True)} | {id(self.steps): steps}
        return trainable, [now[id(v)] for v in self.non_trainable_variables], *rest

    def _next_averages(self, steps: Any, averages: Any, values: Any) -> tuple[Any, list[Any]]:
        steps = steps + 1
        n = ops.cast(steps, "float32")
        decay = ops.minimum(self.decay, (1 + n) / (10 + n))
        return steps, [ops.cast(a + (1 - decay) * (v - a), a.dtype) for a, v in zip(averages, values, strict=True)]


def make_learner(model: keras.Model, recipe: Recipe, steps: int) -> tuple[Learner, list[keras.metrics.Metric]]:
    """Compiles the model with the recipe's loss and optimizer; also returns its metrics, which Keras hides at first."""
    settings = recipe.optimizer
    learner = Learner(model.inputs, model.outputs, name=model.name)
    if settings.decay_norm_and_bias and settings.weight_decay:
        for variable in learner.trainable_variables:
            variable.regularizer = variable.regularizer or keras.regularizers.L2(settings.weight_decay / 2)
    if settings.ema:
        learner.keep_averages(settings.ema)
    optimizer = keras.optimizers.SGD(
        Rate.from_recipe(recipe, steps),
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        global_clipnorm=settings.clip_norm or None,
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.label_smoothing)
    measured = metrics()
    # Weighted, because batches that devices share are padded with examples of weight 0.
    learner.compile(optimizer, loss, weighted_metrics=list(measured), jit_compile=jit_compile(recipe.jit))
    learner.optimizer.build(learner.trainable_variables)
    return learner, measured


def build_metrics(model: keras.Model, batches: keras.utils.PyDataset) -> None:
    """Builds the metrics of a compiled model from the first batch, before Keras does so from its own iterator.

    On JAX and torch that iterator prefetches in threads, and would repeat these batches instead of others.
    """
    if keras.backend.backend() != "tensorflow":
        model.test_on_batch(*batches[0])


def metrics() -> list[keras.metrics.Metric]:
    """Makes the metrics: accuracy, and the loss without regularisation and smoothing."""
    return [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
    ]


def jit_compile(wanted: bool | None = None) -> bool | str:
    """Decides whether XLA compiles. By default Keras chooses, except on TensorFlow without a GPU: XLA takes twice as
    long there.
    """
    if wanted is not None:
        return wanted
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.config.list_logical_devices("GPU") else False


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Sets the dtype policy, such as "mixed_bfloat16", for networks that are built or loaded inside the block."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
