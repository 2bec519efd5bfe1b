"""Arguments of the builders: what the docstrings say about them, and checks that name them in errors."""

import inspect
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    import keras

# What builders have in common; `document` writes it into their docstrings.
ARGUMENTS = {
    "input_shape": "(height, width, channels); height and width may be None.",
    "classes": "Number of logits.",
    "weight_decay": "Coupled L2 on the kernels.",
    "features_only": "Whether the model ends in its feature maps; see `zoo.build`.",
    "recompute": "Whether only the blocks' inputs are kept for the gradients; see `keras_skip.ResidualBlock`.",
}
Builder = TypeVar("Builder", bound=Callable[..., "keras.Model"])


def document(builder: Builder, **others: str) -> Builder:
    """Adds to a builder's docstring the arguments that it leaves out, in the order of the signature.

    The docstring then has no indentation of its own, as Python compiles it from 3.13 on.

    Args:
        builder: Its docstring has a section "Returns:", and one "Args:" if there is something special about one.
        **others: More descriptions than those of `ARGUMENTS`, or different ones.
    """
    if builder.__doc__ is None:  # as under -OO
        return builder
    above, returns, below = inspect.cleandoc(builder.__doc__).partition("\n\nReturns:")
    summary, _, described = above.partition("\n\nArgs:\n")
    entries = {entry.strip().partition(":")[0]: entry for entry in re.split(r"\n(?=    \S)", described)}
    shared = {name: f"    {name}: {text}" for name, text in {**ARGUMENTS, **others}.items()}
    lines = [entries.get(name) or shared[name] for name in inspect.signature(builder).parameters]
    builder.__doc__ = "\n".join([f"{summary}\n\nArgs:", *lines]) + returns + below
    return builder


def positive(value: int, argument: str) -> int:
    """Returns a positive integer as it is; of anything else, raises a ValueError that names the argument."""
    if not is_positive(value):
        raise ValueError(f"Expected {argument} to be a positive integer. Received: {argument}={value!r}")
    return int(value)


def positive_integers(values: Sequence[int], argument: str) -> tuple[int, ...]:
    """Returns a sequence of positive integers as a tuple; of anything else, raises a ValueError."""
    if not isinstance(values, (tuple, list)) or not values:
        raise ValueError(f"Expected {argument} to be a sequence of positive integers. Received: {argument}={values!r}")
    return tuple(positive(value, argument) for value in values)


def number(value: float, argument: str, low: float = -float("inf"), high: float = float("inf")) -> float:
    """Returns a finite number from `low` to below `high`; of anything else, raises a ValueError that names it."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or not low <= value < high:
        raise ValueError(
            f"Expected {argument} to be a finite number in [{low:g}, {high:g}). Received: {argument}={value!r}"
        )
    return value


def one_of(value: Any, argument: str, choices: Iterable[Any]) -> Any:
    """Returns a value that is one of the choices; of any other, raises a ValueError that names the argument."""
    choices = list(choices)
    if value not in choices:
        expected = f"{argument} to be one of {', '.join(map(repr, choices))}"
        raise ValueError(f"Expected {expected}. Received: {argument}={value!r}")
    return value


def blocks_per_stage(depth: int, layers: int, others: int) -> int:
    """Finds the n of depth = layers * n + others; if there is none, a ValueError shows which depths there are."""
    n, rest = divmod(depth - others, layers) if isinstance(depth, int) else (0, 0)
    if n < 1 or rest:
        raise ValueError(
            f"Expected a depth of {layers}n + {others}, such as {3 * layers + others}. Received: depth={depth!r}"
        )
    return n


def falling_survival(survival_prob: float, blocks: int) -> Iterator[float]:
    """Yields the survival probability of each block, linearly falling to that of the last."""
    from keras_skip import linear_survival

    try:
        return iter(linear_survival(survival_prob, blocks))
    except ValueError:
        raise ValueError(
            f"Expected survival_prob to be a number in (0, 1]. Received: survival_prob={survival_prob!r}"
        ) from None


def is_positive(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
