"""The optimizers, with a learning rate for each group of variables."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
from keras import ops

from .schedules import Rate
from .settings import Optimizer


class Grouped:
    """Makes an optimizer of Keras multiply the step of each variable, after any clipping, by a factor.

    Args:
        rates: Factors by shell pattern of the path, as in `zoo.training.recipe.Optimizer`.
        **options: Of the optimizer.
    """

    def __init__(self, *args: Any, rates: Mapping[str, float], **options: Any) -> None:
        super().__init__(*args, **options)
        self.rates = dict(rates)

    def build(self: Any, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(variables)  # type: ignore[misc]
            self.factors = [find_factor(self.rates, variable.path) for variable in variables]

    def update_step(self: Any, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)  # type: ignore[misc]

    def stateless_apply(self: Any, optimizer_variables: Any, grads: Any, trainable_variables: Any) -> tuple[Any, Any]:
        """On JAX: as Keras does it, for the variables that are not frozen now."""
        moving = [variable for variable in self._trainable_variables if variable.trainable]
        pairs = [*zip(moving, trainable_variables, strict=True), *zip(self.variables, optimizer_variables, strict=True)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            self.apply(grads, moving)
        return [scope.get_current_value(v) for v in moving], [scope.get_current_value(v) for v in self.variables]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self.rates}  # type: ignore[misc]


@keras.saving.register_keras_serializable("zoo")
class SGD(Grouped, keras.optimizers.SGD):
    pass


@keras.saving.register_keras_serializable("zoo")
class AdamW(Grouped, keras.optimizers.AdamW):
    pass


class _Layerwise(keras.optimizers.Lamb):
    """`keras.optimizers.Lamb` with the weight decay inside the trust ratio, as in the paper.

    Keras decays before the step and outside the ratio, so its decay is stronger by the inverse of the ratio.

    You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020,
    https://arxiv.org/abs/1904.00962
    """

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        place = self._get_variable_index(variable)
        m, v = self._momentums[place], self._velocities[place]
        rate, gradient, step = (ops.cast(x, variable.dtype) for x in (learning_rate, gradient, self.iterations + 1))
        self.assign_add(m, (gradient - m) * (1 - self.beta_1))
        self.assign_add(v, (ops.square(gradient) - v) * (1 - self.beta_2))
        mean, size = m / (1 - ops.power(self.beta_1, step)), ops.sqrt(v / (1 - ops.power(self.beta_2, step)))
        update = mean / (size + self.epsilon)
        if self.weight_decay and self._use_weight_decay(variable):
            update += self.weight_decay * variable
        # Biases and normalisations have one axis; the authors' code does not adapt them.
        ratio = trust_ratio(variable, update) if len(variable.shape) > 1 else 1.0
        self.assign_sub(variable, rate * ratio * update)

    def _apply_weight_decay(self, variables: Any) -> None:
        pass


def trust_ratio(variable: Any, update: Any) -> Any:
    """|w| / |u|, or 1 if one of them is 0."""
    weight, step = (ops.sqrt(ops.sum(ops.square(x))) for x in (variable, update))
    both = ops.logical_and(weight > 0, step > 0)
    return ops.where(both, weight / ops.where(both, step, 1.0), 1.0)


@keras.saving.register_keras_serializable("zoo")
class Lamb(Grouped, _Layerwise):
    pass


def find_factor(rates: Mapping[str, float], path: str) -> float:
    """The factor of the first pattern that matches a variable's path, or 1."""
    return next((factor for pattern, factor in rates.items() if fnmatchcase(path, pattern)), 1.0)


def make_optimizer(
    settings: Optimizer, rate: Rate, variables: Sequence[keras.Variable], later: bool = False
) -> keras.optimizers.Optimizer:
    """Makes the optimizer of trainable variables, with their weight decay. A factor of 0 freezes a variable.

    With `later`, some of the others may be frozen in the first steps.

    Raises:
        ValueError: If no variable is left for a pattern.
    """
    check_patterns(settings.rates, [variable.path for variable in variables])
    for variable in variables:
        variable.trainable = find_factor(settings.rates, variable.path) > 0
        if settings.weight_decay and settings.decay_norm_and_bias:
            variable.regularizer = variable.regularizer or keras.regularizers.L2(settings.weight_decay / 2)
    not_decayed = [variable for variable in variables if variable.regularizer is None]
    optimizer = _make(settings, rate, bool(settings.rates or later))
    if settings.kind != "sgd" or settings.decoupled:
        for variable in variables:
            variable.regularizer = None
    optimizer.exclude_from_weight_decay(not_decayed)
    return optimizer


def _make(settings: Optimizer, rate: Rate, grouped: bool) -> keras.optimizers.Optimizer:
    """Makes the optimizer of a kind: Keras's own if no rates differ, since it is faster on torch than a subclass."""
    options: dict[str, Any] = {"global_clipnorm": settings.clip_norm or None}
    if settings.kind == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
        options["weight_decay"] = (settings.decoupled and settings.weight_decay) or None
        return SGD(rate, rates=settings.rates, **options) if grouped else keras.optimizers.SGD(rate, **options)
    options |= {name: getattr(settings, name) for name in ("weight_decay", "beta_1", "beta_2", "epsilon")}
    if settings.kind == "lamb":
        return Lamb(rate, rates=settings.rates, **options)
    return AdamW(rate, rates=settings.rates, **options) if grouped else keras.optimizers.AdamW(rate, **options)


def check_patterns(rates: Mapping[str, float], paths: Sequence[str]) -> None:
    """Raises a ValueError unless each pattern is the first to match a path."""
    left = list(paths)
    for pattern in rates:
        unmatched = [path for path in left if not fnmatchcase(path, pattern)]
        if len(unmatched) == len(left):
            earlier = ", after the patterns before it" if len(left) < len(paths) else ""
            near = difflib.get_close_matches(pattern, paths, n=5, cutoff=0)
            raise ValueError(
                f"Expected each pattern of optimizer.rates to match the path of a trained variable{earlier}. "
                f"Received: {pattern!r}. Paths like it: {', '.join(near)}"
            )
        left = unmatched
