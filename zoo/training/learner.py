"""The network while it is trained: the same layers with loss, optimizer and, if asked for, averaged or slow weights.

It is a second model over the same layers, so that the saved network has none of these.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from ..data import Source
from ..tasks import task_of
from .accumulation import Accumulation, check_backend
from .class_weights import Weighted, balanced
from .optimizer import make_optimizer
from .recipe import Optimizer, Recipe
from .schedules import Rate


class Learner(keras.Model):
    """A network that keeps moving averages: after the step n, average = d * average + (1 - d) * value, where
    d = min(decay, (1 + n) / (10 + n)). Only weights and normalisation statistics are averaged.

    The slow weights of lookahead are averages too, but with another d, and training continues from them; see
    `zoo.training.recipe.Optimizer`.
    """

    averages: Sequence[keras.Variable] = ()
    accumulation: Accumulation | None = None
    # A function: a teacher among its attributes would be trained, averaged and saved with it.
    distil: Callable[[Any, Any], Any] | None = None

    def keep_averages(self, settings: Optimizer, run: int) -> None:
        """Starts the averages at the current values. Call it once, before `compile`, with the steps of the run."""
        self.decay, self.lookahead, self.run = settings.ema, settings.lookahead, run
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
        whole, parts = super().train_step, self.accumulation
        if keras.backend.backend() == "jax":
            logs, state = parts.step_on_jax(*args) if parts else whole(*args)
            return logs, self._average_state(state) if self.averages else state
        logs = parts.step_on_tensorflow(*args) if parts else whole(*args)
        if self.averages:
            for variable, value in self._average(self.steps, self.averages, self.averaged):
                variable.assign(value)
        return logs

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        if training and self.distil is not None:
            y = self.distil(x, y)
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)

    def _average_state(self, state: Any) -> Any:
        """Updates the averages in the state of a step on JAX, which lists values in the order of the variables."""
        trainable, others, *rest = state
        now = {id(v): value for v, value in zip(self.trainable_variables, trainable, strict=True)}
        now |= {id(v): value for v, value in zip(self.non_trainable_variables, others, strict=True)}
        averages, averaged = ([now[id(v)] for v in group] for group in (self.averages, self.averaged))
        now |= {id(v): value for v, value in self._average(now[id(self.steps)], averages, averaged)}
        lists = (self.trainable_variables, self.non_trainable_variables)
        return *([now[id(v)] for v in variables] for variables in lists), *rest

    def _average(self, steps: Any, averages: Any, values: Any) -> list[tuple[keras.Variable, Any]]:
        """The variables that change after a step, with their new values."""
        steps = steps + 1
        n = ops.cast(steps, "float32")
        if self.lookahead:
            due = ops.equal(ops.mod(steps, self.lookahead), 0)
            decay = ops.where(due, 0.95**self.lookahead * (n / self.run) ** 3, 1.0)
        else:
            decay = ops.minimum(self.decay, (1 + n) / (10 + n))
        averages = [ops.cast(a + (1 - decay) * (v - a), a.dtype) for a, v in zip(averages, values, strict=True)]
        changed = [(self.steps, steps), *zip(self.averages, averages, strict=True)]
        if self.lookahead:
            values = [ops.where(due, average, value) for average, value in zip(averages, values, strict=True)]
            changed += zip(self.averaged, values, strict=True)
        return changed


def make_learner(
    model: keras.Model, recipe: Recipe, steps: int, source: Source, distil: Callable[[Any, Any], Any] | None = None
) -> tuple[Learner, list[keras.metrics.Metric]]:
    """Compiles the model with the recipe's optimizer and the loss of the source's task.

    `distil` turns images and labels into other targets. It also returns the metrics, which Keras hides at first.
    """
    settings, task = recipe.optimizer, task_of(source)
    check_backend(recipe.accumulate)
    learner = Learner(model.inputs, model.outputs, name=model.name)
    later = bool(recipe.unfreeze_after)
    optimizer = make_optimizer(settings, Rate.from_recipe(recipe, steps), learner.trainable_variables, later)
    if settings.lookahead > steps:
        raise ValueError(
            f"Expected lookahead to be at most the {steps} steps of the run, since none would reach the slow weights. "
            f"Received: lookahead={settings.lookahead}"
        )
    if settings.ema or settings.lookahead:
        learner.keep_averages(settings, steps)
    loss = task.loss(source, recipe.label_smoothing, recipe.loss, recipe.loss_threshold)
    measured = task.metrics(source, model)
    if recipe.class_weight:
        loss = Weighted(loss, balanced(source))
    # Weighted, because batches that devices share are padded with examples of weight 0.
    learner.compile(optimizer, loss, weighted_metrics=list(measured), jit_compile=jit_compile(recipe.jit))
    learner.optimizer.build(learner.trainable_variables)
    learner.distil = distil
    if recipe.accumulate > 1:
        learner.accumulation = Accumulation(learner, recipe.accumulate)
    return learner, measured


def allow_sizes(learner: keras.Model, shapes: Sequence[tuple[int, ...]]) -> None:
    """Lets a network take images of other shapes than its own.

    Its layers are called one after the other, so only those that depend on a size refuse another one.

    Raises:
        ValueError: If one does.
    """
    for network in (layer for layer in learner._flatten_layers() if isinstance(layer, keras.Model)):
        network.input_spec = None
    for shape in shapes:
        try:
            learner(ops.zeros((1, *shape)), training=False)
        except Exception as error:
            raise ValueError(
                f"Expected a network that takes images of any size, for augment.sizes. Received: {learner.name}, "
                f"which fails on images of shape {shape}: {str(error).splitlines()[0]}"
            ) from error


def build_metrics(model: keras.Model, batches: keras.utils.PyDataset) -> None:
    """Builds the metrics of a compiled model from the first batch, before Keras does so from its own iterator.

    On JAX and torch that iterator prefetches in threads, and would repeat these batches instead of others.
    """
    if keras.backend.backend() != "tensorflow":
        model.test_on_batch(*batches[0])


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
