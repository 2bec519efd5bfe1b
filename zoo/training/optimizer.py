"""Stochastic gradient descent with a learning rate for each group of variables."""

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras

from .recipe import Optimizer
from .schedules import Rate


@keras.saving.register_keras_serializable("zoo")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` that multiplies the step of each variable, after any clipping, by a factor.

    Args:
        rates: Factors by shell pattern of the path, as in `zoo.training.recipe.Optimizer`.
        **options: Of `keras.optimizers.SGD`.
    """

    def __init__(self, *args: Any, rates: Mapping[str, float], **options: Any) -> None:
        super().__init__(*args, **options)
        self.rates = dict(rates)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        if not self.built:
            super().build(variables)
            self.factors = [find_factor(self.rates, variable.path) for variable in variables]

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        factor = self.factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)

    def stateless_apply(self, optimizer_variables: Any, grads: Any, trainable_variables: Any) -> tuple[Any, Any]:
        """On JAX: as Keras does it, for the variables that are not frozen now."""
        moving = [variable for variable in self._trainable_variables if variable.trainable]
        pairs = [*zip(moving, trainable_variables, strict=True), *zip(self.variables, optimizer_variables, strict=True)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            self.apply(grads, moving)
        return [scope.get_current_value(v) for v in moving], [scope.get_current_value(v) for v in self.variables]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rates": self.rates}


def find_factor(rates: Mapping[str, float], path: str) -> float:
    """The factor of the first pattern that matches a variable's path, or 1."""
    return next((factor for pattern, factor in rates.items() if fnmatchcase(path, pattern)), 1.0)


def make_optimizer(
    settings: Optimizer, rate: Rate, variables: Sequence[keras.Variable], later: bool = False
) -> keras.optimizers.SGD:
    """Makes the optimizer of trainable variables, with their decay. Variables with a factor of 0 are frozen.

    With `later`, some of the others may be frozen in the first steps.

    Raises:
        ValueError: If no variable is left for a pattern.
    """
    check_patterns(settings.rates, [variable.path for variable in variables])
    for variable in variables:
        variable.trainable = find_factor(settings.rates, variable.path) > 0
        if settings.weight_decay and settings.decay_norm_and_bias:
            variable.regularizer = variable.regularizer or keras.regularizers.L2(settings.weight_decay / 2)
    options: dict[str, Any] = {
        "momentum": settings.momentum,
        "nesterov": settings.nesterov,
        "global_clipnorm": settings.clip_norm or None,
    }
    not_decayed = [variable for variable in variables if variable.regularizer is None]
    if settings.decoupled:
        options["weight_decay"] = settings.weight_decay or None
        for variable in variables:
            variable.regularizer = None
    # On torch, Keras updates all variables at once, but not for a subclass.
    own = settings.rates or later
    optimizer = SGD(rate, rates=settings.rates, **options) if own else keras.optimizers.SGD(rate, **options)
    optimizer.exclude_from_weight_decay(not_decayed)
    return optimizer


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
