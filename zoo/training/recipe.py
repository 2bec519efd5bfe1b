"""Recipes: how a network is trained, as checked and frozen data."""

import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from .._names import unknown
from ..data.augmentation import Augmentation

SCHEDULES = ("one-cycle", "cosine", "step", "constant")
INITIALIZATIONS = ("dirac", "whitening")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16", "auto")
FREEZES = ("none", "norms", "backbone")


def check(settings: "Optimizer | Schedule | Recipe", name: str, wanted: str, fits: bool) -> None:
    """Raises a ValueError that names the setting, the expected and the received value, unless it fits."""
    if not fits:
        value = getattr(settings, name)
        raise ValueError(f"Expected {name} to be {wanted}. Received: {name}={value!r}")


def check_interval(steps: int, name: str) -> None:
    """Raises a ValueError unless an argument is a number of steps."""
    if not _is_whole(steps, 1):
        raise ValueError(f"Expected {name} to be a whole number of at least 1. Received: {name}={steps!r}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**32


def _is_plain(value: object) -> bool:
    """Whether JSON can hold a value, in which a tuple becomes a list."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Stochastic gradient descent, with an L2 penalty that is part of the gradient, as in the papers:

        g = gradient + weight_decay * w
        v = momentum * v - lr * g
        w = w + v                          or, with Nesterov's form, w + momentum * v - lr * g

    Lookahead keeps slow weights and normalisation statistics s beside them. After step n of N, if n is a multiple of k:

        s = d * s + (1 - d) * w            d = 0.95**k * (n / N)**3
        w = s

    Attributes:
        lr: The peak of the learning rate.
        momentum, nesterov: Of SGD.
        weight_decay: On the kernels; its gradient is weight_decay * w.
        decay_norm_and_bias: Whether to decay the scales and offsets of the normalisation and the biases too, as torch
            does by default.
        decoupled: Whether the decay is a separate step, w = w - lr * weight_decay * w, and not part of the gradient.
            Then momentum, `clip_norm` and `rates` do not change it. A decay of d / (1 - momentum) is about as strong
            as one of d in the gradient.
        rates: Factors on the learning rate of some variables: {"head/*": 10.0, "*/gamma": 0.0}. The names are shell
            patterns for the paths of variables, and the first one that matches counts. 0 freezes a variable.
        clip_norm: The largest norm of all gradients together. 0: no limit.
        lookahead: k, the number of steps after which training continues from the slow weights. The network is evaluated
            and saved with the slow ones. 0: none.
        ema: Decay of the moving average of weights and normalisation statistics; the network is evaluated and saved
            with these averages. In the first steps n it is (1 + n) / (10 + n). 0: no average.
    """

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 0.0
    decay_norm_and_bias: bool = False
    decoupled: bool = False
    rates: dict[str, float] = field(default_factory=dict, hash=False)
    clip_norm: float = 0.0
    lookahead: int = 0
    ema: float = 0.0

    def __post_init__(self) -> None:
        check(self, "lr", "a positive number", _is_real(self.lr) and self.lr > 0)
        for name in ("weight_decay", "clip_norm"):
            value = getattr(self, name)
            check(self, name, "a number of at least 0", _is_real(value) and value >= 0)
        for name in ("momentum", "ema"):
            value = getattr(self, name)
            check(self, name, "a number in [0, 1)", _is_real(value) and 0 <= value < 1)
        for name in ("nesterov", "decay_norm_and_bias", "decoupled"):
            check(self, name, "True or False", isinstance(getattr(self, name), bool))
        rates = isinstance(self.rates, Mapping) and all(
            isinstance(pattern, str) and _is_real(factor) and factor >= 0 for pattern, factor in self.rates.items()
        )
        check(self, "rates", "a dictionary from patterns to factors of at least 0", rates)
        object.__setattr__(self, "rates", dict(self.rates))
        check(self, "lookahead", "a number of steps, or 0", _is_whole(self.lookahead, 0))
        check(self, "lookahead", f"0 with ema={self.ema}", not (self.lookahead and self.ema))


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over the run. With t in (0, 1) for the position and w for the warm-up, it is lr times

        t / w, or warmup_factor             t < w, for every kind
        (1 - t) / (1 - w)                   one-cycle
        (1 + cos(pi (t - w) / (1 - w))) / 2 cosine
        factor ** (milestones passed)       step
        1                                   constant

    Attributes:
        kind: "one-cycle", "cosine", "step" or "constant".
        warmup: w, a fraction of the run.
        warmup_factor: A constant factor for the warm-up. None: it rises from 0.
        milestones, factor: Of "step": the fractions of the run at which the rate is multiplied by the factor.
    """

    kind: str = "one-cycle"
    warmup: float = 0.0
    warmup_factor: float | None = None
    milestones: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1

    def __post_init__(self) -> None:
        check(self, "kind", f"one of {', '.join(SCHEDULES)}", self.kind in SCHEDULES)
        check(self, "warmup", "a number in [0, 1)", _is_real(self.warmup) and 0 <= self.warmup < 1)
        for name in ("warmup_factor", "factor"):
            value = getattr(self, name)
            none = name == "warmup_factor" and value is None
            check(self, name, "a positive number", none or (_is_real(value) and value > 0))
        sequence = isinstance(self.milestones, (tuple, list)) and all(
            _is_real(m) and 0 < m < 1 for m in self.milestones
        )
        check(self, "milestones", "fractions in (0, 1)", sequence)
        object.__setattr__(self, "milestones", tuple(self.milestones))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A recipe to train a network.

    Attributes:
        name: Its name in `get_recipe`.
        network: A name of `zoo.list_models()`.
        arguments: Arguments of the network that differ from the registry's, such as {"depth": 32}.
        source: The data source.
        epochs, batch_size: Length of the run.
        weights: What the network starts from: the name of weights, a file, or the folder of a run, as `zoo.load` takes
            them. With another number of classes the head is new. Default: new weights.
        freeze: What keeps its values: "norms" (the scales, offsets and moving statistics of all normalisations),
            "backbone" (everything but the head) or "none".
        unfreeze_after: The number of epochs after which a frozen backbone trains too. 0: never.
        initialization: What replaces the network's own initial weights. "dirac": the first filters of each convolution,
            one for each of its channels, pass these on unchanged. "whitening": the first convolution whitens the
            patches of the training images, and is frozen. Default: nothing.
        optimizer: `Optimizer`.
        schedule: `Schedule`.
        augment: `Augmentation`.
        label_smoothing: In [0, 1).
        class_weight: "balanced": the loss of an example of class c counts n / (k n_c) times, for n training examples of
            k classes, n_c of them of c. None: all count alike.
        keep: Which weights the run ends with: those of the "last" epoch, or of the "best" one on the validation part.
        patience: How many epochs without a better one on the validation part end the training. 0: it never ends early.
        evaluate_every: The number of epochs between evaluations; the last epoch is always evaluated.
        precision: "float32", "mixed_bfloat16", "mixed_float16", or "auto": the fastest that holds, which `train`
            measures before the first step and records in place of "auto".
        seed: Of the initial weights, the order, the augmentation and the dropout.
        jit: Whether XLA compiles the steps. None: where that is the faster choice.
        command: The command line that trains it.
        paper: What the paper reports for this network and these data.
        cost, result: Measured figures, with machine and date; empty until they are measured.
    """

    name: str
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    source: str = "digits"
    epochs: int = 30
    batch_size: int = 128
    weights: str | None = None
    freeze: str = "none"
    unfreeze_after: int = 0
    initialization: tuple[str, ...] = ()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    augment: Augmentation = Augmentation()
    label_smoothing: float = 0.0
    class_weight: str | None = None
    keep: str = "last"
    patience: int = 0
    evaluate_every: int = 1
    precision: str = "float32"
    seed: int = 0
    jit: bool | None = None
    command: str = ""
    paper: str = ""
    cost: str = ""
    result: str = ""

    def __post_init__(self) -> None:
        for name in ("name", "network", "source", "command", "paper", "cost", "result"):
            check(self, name, "text", isinstance(getattr(self, name), str))
        for name in ("epochs", "batch_size", "evaluate_every"):
            check(self, name, "a positive integer below 2**32", _is_whole(getattr(self, name), 1))
        names = self.initialization
        known = isinstance(names, (tuple, list)) and all(name in INITIALIZATIONS for name in names)
        check(self, "initialization", f"a tuple of names from {', '.join(INITIALIZATIONS)}", known)
        object.__setattr__(self, "initialization", tuple(names))
        self._check_start()
        check(self, "class_weight", "'balanced' or None", self.class_weight in (None, "balanced"))
        check(self, "keep", "'last' or 'best'", self.keep in ("last", "best"))
        check(self, "patience", "a number of epochs, or 0", _is_whole(self.patience, 0))
        check(self, "seed", "an integer of at least 0 and below 2**32", _is_whole(self.seed, 0))
        smoothing = self.label_smoothing
        check(self, "label_smoothing", "a number in [0, 1)", _is_real(smoothing) and 0 <= smoothing < 1)
        check(self, "precision", f"one of {', '.join(PRECISIONS)}", self.precision in PRECISIONS)
        check(self, "jit", "True, False or None", self.jit is None or isinstance(self.jit, bool))
        named = isinstance(self.arguments, dict) and all(isinstance(name, str) for name in self.arguments)
        check(
            self, "arguments", "a dictionary by name, of values that JSON can hold", named and _is_plain(self.arguments)
        )
        for name, kind in PARTS.items():
            check(self, name, f"of the class {kind.__name__}", isinstance(getattr(self, name), kind))

    def _check_start(self) -> None:
        named = self.weights is None or (isinstance(self.weights, str) and self.weights != "")
        check(self, "weights", "the name of weights, a path, or None", named)
        check(
            self, "initialization", f"empty with weights={self.weights!r}", not (self.weights and self.initialization)
        )
        check(self, "freeze", f"one of {', '.join(FREEZES)}", self.freeze in FREEZES)
        check(self, "unfreeze_after", "a number of epochs, or 0", _is_whole(self.unfreeze_after, 0))
        frozen = self.freeze == "backbone" or not self.unfreeze_after
        check(self, "unfreeze_after", f"0 with freeze={self.freeze!r}, which stays frozen", frozen)

    def changed(self, overrides: Mapping[str, Any] | None = None, **others: Any) -> "Recipe":
        """Copies the recipe with other values. A wrong name is a ValueError that lists the right ones.

        Args:
            overrides: Settings by dotted name, such as {"optimizer.lr": 0.2, "arguments.depth": 32}.
            **others: More settings.

        Example:

        >>> import zoo
        >>> zoo.get_recipe("resnet20_digits").changed({"optimizer.lr": 0.2}, epochs=3).optimizer.lr
        0.2
        """
        recipe = self
        for name, value in {**(overrides or {}), **others}.items():
            part, dot, inner = name.partition(".")
            if part == "arguments" and inner:
                value = {**recipe.arguments, inner: value}
            elif name not in SETTINGS:
                raise unknown("a recipe's setting", name, [*SETTINGS, "arguments.NAME"])
            elif dot:
                value = replace(getattr(recipe, part), **{inner: value})
            recipe = replace(recipe, **{part: value})
        return recipe

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain data that survive JSON unchanged."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, figures: Mapping[str, Any]) -> "Recipe":
        parts = {name: kind(**figures[name]) for name, kind in PARTS.items()}
        return cls(**{**figures, **parts})


PARTS: dict[str, type[Optimizer | Schedule | Augmentation]] = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "augment": Augmentation,
}
# Every name that an override may have, those of the network's arguments excepted.
SETTINGS = [item.name for item in fields(Recipe)]
SETTINGS += [f"{part}.{item.name}" for part, kind in PARTS.items() for item in fields(kind)]


def to_plain(value: Any) -> Any:
    """Turns the value of an override into plain data."""
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def parse_setting(text: str) -> tuple[str, Any]:
    """Parses "name=value". The value is a Python literal, or else text.

    Example:

    >>> from zoo.training.recipe import parse_setting
    >>> parse_setting("optimizer.lr=0.05"), parse_setting("schedule.kind=cosine")
    (('optimizer.lr', 0.05), ('schedule.kind', 'cosine'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"Expected a setting as name=value. Received: {text!r}")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last three for odd text
        return name.strip(), value.strip()
