"""Recipes: how each network is trained, as data.

A recipe states only how it differs from its parent. With t in (0, 1) for the position in the run and w for the warm-up,
the rate is

    peak * t / w                                    t < w, for every schedule
    peak * (1 - t) / (1 - w)                        one-cycle
    peak * (1 + cos(pi * (t - w) / (1 - w))) / 2    cosine
    peak * factor ** (milestones passed)            step
"""

import ast
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ._names import unknown

SCHEDULES = ("one-cycle", "cosine", "step")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
PAD_MODES = ("constant", "reflect")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        name: Its name in `get_recipe`.
        network: A name of `zoo.list_models()`.
        arguments: Arguments of the network that differ from the registry's, such as {"depth": 32}.
        source: The data source.
        epochs, batch_size: Length of the run.
        schedule: "one-cycle", "cosine" or "step"; see the module's docstring.
        learning_rate: The peak.
        warmup: Fraction of the run in which the rate rises.
        milestones, factor: Of "step": where, as fractions of the run, the rate is multiplied by what.
        momentum: Of SGD with Nesterov's form.
        weight_decay: Coupled L2 on the kernels; its gradient is weight_decay * w.
        label_smoothing: In [0, 1).
        pad, pad_mode, flip: The augmentation; see `zoo.Batches`.
        seed: Of the initial weights, the order and the augmentation.
        precision: "float32", "mixed_bfloat16" or "mixed_float16".
        command: What to type.
        cost, result: What was measured, where and when; empty until then.
    """

    name: str
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    source: str = "digits"
    epochs: int = 30
    batch_size: int = 128
    schedule: str = "one-cycle"
    learning_rate: float = 0.1
    warmup: float = 0.25
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    pad: int = 0
    pad_mode: str = "constant"
    flip: bool = False
    seed: int = 0
    precision: str = "float32"
    command: str = ""
    cost: str = ""
    result: str = ""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            self._check(name, "a positive integer", _whole(getattr(self, name), 1))
        for name in ("pad", "seed"):
            self._check(name, "an integer of at least 0", _whole(getattr(self, name), 0))
        self._check("learning_rate", "a positive number", _real(self.learning_rate) and self.learning_rate > 0)
        self._check("factor", "a positive number", _real(self.factor) and self.factor > 0)
        self._check("weight_decay", "a number of at least 0", _real(self.weight_decay) and self.weight_decay >= 0)
        for name in ("warmup", "momentum", "label_smoothing"):
            value = getattr(self, name)
            self._check(name, "a number in [0, 1)", _real(value) and 0 <= value < 1)
        for name, allowed in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("pad_mode", PAD_MODES)):
            self._check(name, f"one of {', '.join(allowed)}", getattr(self, name) in allowed)
        self._check("flip", "True or False", isinstance(self.flip, bool))
        self._check("arguments", "a dictionary", isinstance(self.arguments, dict))
        sequence = isinstance(self.milestones, (tuple, list)) and all(_real(m) and 0 < m < 1 for m in self.milestones)
        self._check("milestones", "fractions in (0, 1)", sequence)

    def _check(self, name: str, wanted: str, fits: bool) -> None:
        if not fits:
            raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={getattr(self, name)!r}")

    def changed(self, **overrides: Any) -> "Recipe":
        """A copy with other values; a wrong name is a ValueError that lists the right ones."""
        names = [item.name for item in fields(self)]
        for name in overrides:
            if name not in names:
                raise unknown("a recipe's setting", name, names)
        return replace(self, **overrides)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data, which JSON gives back as they are."""
        return {**asdict(self), "milestones": list(self.milestones)}

    @classmethod
    def from_dict(cls, figures: dict[str, Any]) -> "Recipe":
        return cls(**{**figures, "milestones": tuple(figures["milestones"])})


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def setting(text: str) -> tuple[str, Any]:
    """A name and its value, from "name=value"; values are Python literals, and anything else is text.

    Example:

    >>> from zoo.recipes import setting
    >>> setting("learning_rate=0.05"), setting("schedule=cosine")
    (('learning_rate', 0.05), ('schedule', 'cosine'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"Expected a setting as name=value. Received: {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value.strip()


def _named(parent: Recipe, name: str, **differences: Any) -> Recipe:
    return replace(parent, name=name, command=f"keras-skip train {name}", cost="", result="", **differences)


_RESNET20_DIGITS = Recipe(
    name="resnet20_digits",
    network="resnet20",
    command="keras-skip train resnet20_digits",
    epochs=20,
    batch_size=64,
    learning_rate=0.1,
    weight_decay=5e-4,
    pad=1,
    cost="27 to 39 s on 2 CPU cores that were shared",
    result="test accuracy 98.9, 98.9, 99.4, 99.7, 98.9 % with the seeds 0 to 4",
)
_PLAIN_MLP_DIGITS = _named(
    _RESNET20_DIGITS, "plain_mlp_digits", network="plain_mlp", epochs=30, learning_rate=0.02, pad=0
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _RESNET20_DIGITS,
        _PLAIN_MLP_DIGITS,
        _named(_PLAIN_MLP_DIGITS, "residual_mlp_digits", network="residual_mlp"),
        _named(_PLAIN_MLP_DIGITS, "highway_mlp_digits", network="highway_mlp"),
        _named(_PLAIN_MLP_DIGITS, "dense_mlp_digits", network="dense_mlp"),
    )
}


def list_recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(RECIPES)


def get_recipe(name: str | Recipe) -> Recipe:
    """A recipe by its name; a `Recipe` comes back as it is.

    Raises:
        ValueError: If there is no such recipe; the message suggests the nearest names.

    Example:

    >>> import zoo
    >>> zoo.get_recipe("resnet20_digits").network
    'resnet20'
    """
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]
